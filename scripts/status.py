"""Say how far a scale has come: its runs by study, what is running or failed, and how long the rest takes.

Nothing is written and no lock is taken, so it may be asked while snakemake runs.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from gradflow.study.config import ConfigError  # noqa: E402
from gradflow.study.config_file import read_config  # noqa: E402
from gradflow.study.plan import Grid  # noqa: E402
from gradflow.text import nearest  # noqa: E402
from gradflow.workflow.status import scale_status, scales_with_results  # noqa: E402
from gradflow.workflow.status_report import report  # noqa: E402


def main() -> int:
    """Print the status; 1 and one sentence when the configuration or the scale is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "scale", nargs="?", metavar="SCALE", help="default: each one that has results"
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="extends config.yaml, as snakemake's option does",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="the results folder (default: results)",
    )
    arguments = parser.parse_args()
    try:
        grid = Grid(read_config(ROOT / "config.yaml", *arguments.configfile))
        known = grid.config.scales
        if arguments.scale is not None and arguments.scale not in known:
            raise ConfigError(
                f"there is no scale {arguments.scale}{nearest(arguments.scale, known)}"
            )
        scales = (
            [arguments.scale] if arguments.scale else scales_with_results(grid, arguments.results)
        )
        if not scales:
            raise ConfigError(
                f"{arguments.results} holds nothing of any scale yet; there are {', '.join(known)}"
            )
        results = arguments.results
        print(
            "\n\n\n".join(report(scale_status(grid, results, scale), results) for scale in scales)
        )
    except (ConfigError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Keep a scale's finished runs in results/reference: study tables, configuration and provenance, for the repository.

They replace what is kept there. `snakemake reference` makes every table and figure from them,
without training.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from gradflow.report.reference import ReferenceError, keep_reference  # noqa: E402
from gradflow.study.config import ConfigError  # noqa: E402


def main() -> int:
    """Keep, and say what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scale", help="the scale's name")
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help="default: those with a finished run"
    )
    parser.add_argument(
        "--configfile", type=Path, default=ROOT / "config.yaml", help="default: config.yaml"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="the results folder (default: results)",
    )
    arguments = parser.parse_args()
    try:
        kept = keep_reference(
            arguments.configfile, arguments.results, arguments.scale, arguments.studies or None
        )
    except (ConfigError, ReferenceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, study in kept["studies"].items():
        print(
            f"{name}: {study['finished_runs']} of {study['planned_runs']} runs of {study['epochs']} epochs"
        )
        for cell in study["incomplete_cells"]:
            pairs = f"{cell['pairs']} of {cell['planned_pairs']} pairs"
            print(f"  incomplete: {cell['variant']}/{cell['configuration']}: {pairs}")
    print(
        f"all, shared ones once: {kept['finished_runs']} of {kept['planned_runs']} runs, "
        f"{kept['job_hours']:.2f} hours of training processes, {kept['study_tables_bytes'] / 1e6:.2f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Say which runs are behind a table or figure, or one of its cells: logs, specification, versions, device, seconds.

For example `python scripts/provenance.py results/quick/tables/table4.csv --where optimizer=adam
regularization=BN`.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from gradflow.report.provenance import ProvenanceError, find_provenance  # noqa: E402
from gradflow.report.provenance_report import report  # noqa: E402
from gradflow.study.config import ConfigError  # noqa: E402
from gradflow.study.config_file import read_config  # noqa: E402


def main() -> int:
    """Print the provenance; 1 and one sentence when there is no such file or cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "artifact", type=Path, help="a table or figure, for example results/quick/tables/table4.csv"
    )
    parser.add_argument(
        "--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="what the cell stands for"
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="extends config.yaml, as snakemake's option does",
    )
    arguments = parser.parse_args()
    try:
        where = {}
        for pair in arguments.where:
            column, equals, value = pair.partition("=")
            if not equals:
                raise ProvenanceError(
                    f"--where {pair}: write COLUMN=VALUE, for example optimizer=adam"
                )
            where[column] = value
        config = read_config(ROOT / "config.yaml", *arguments.configfile)
        print(report(find_provenance(config, arguments.artifact, where), config))
    except (ConfigError, ProvenanceError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

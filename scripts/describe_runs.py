"""Write the page of a scale's configuration and of where its runs come from."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.report.provenance_page import write_provenance


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", required=True, type=Path, help="of the scale, for example results/quick"
    )
    parser.add_argument("--studies", nargs="*", default=[], help="names of its studies")
    parser.add_argument(
        "--config", required=True, help="that they follow, as JSON (scaling.config_json)"
    )
    parser.add_argument("--html", required=True, type=Path)
    arguments = parser.parse_args()
    write_provenance(arguments.html, arguments.folder, arguments.studies, arguments.config)


if __name__ == "__main__":
    main()

"""Pack the project, what is kept in results/reference and all that is drawn of it into one file."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.report.archive import write_archive


def main() -> None:
    """Pack it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True, type=Path, help="the project's folder")
    parser.add_argument("--files", required=True, nargs="+", type=Path)
    parser.add_argument("--zip", required=True, type=Path)
    arguments = parser.parse_args()
    write_archive(arguments.zip, arguments.project, arguments.files)


if __name__ == "__main__":
    main()

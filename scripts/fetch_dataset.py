"""Make one data set's uint8 file and its manifest, from a folder, a Debian package or a
download.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.data.store import DataError, fetch_dataset
from gradflow.study.datasets import SHAPES
from gradflow.workflow.attempts import recorded


def main(arguments: list[str] | None = None) -> int:
    """Fetch as the command line says; return the exit code, 1 when a source is missing or
    damaged.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=list(SHAPES))
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--folder",
        type=Path,
        default=os.environ.get("GRADFLOW_DATA") or None,
        help="folder with the original files, tried first (default: environment variable "
        "GRADFLOW_DATA)",
    )
    options = parser.parse_args(arguments)
    folder = options.folder.expanduser() if options.folder else None
    try:
        fetch_dataset(options.dataset, options.output, options.manifest, folder)
    except DataError as error:
        print(f"fetch_dataset: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # by exception, so that a download's folder is removed
    sys.exit(recorded(main))

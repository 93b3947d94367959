"""`python -m gradflow` is the command `gradflow`."""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    sys.exit(main())

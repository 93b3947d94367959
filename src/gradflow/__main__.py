"""`python -m gradflow` is the command `gradflow`."""

import sys

from gradflow.cli import main

sys.exit(main())

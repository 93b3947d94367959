"""Train the cohort of one configuration and seed, dense and sparse at every width, and write a log
a run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.workflow.commands import training_command

if __name__ == "__main__":
    sys.exit(training_command("train_mlp", __doc__))

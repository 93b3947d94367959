"""Train the cohort of one configuration and seed, dense and sparse at every width, and write a log a run."""

import sys

from gradflow.workflow.commands import training_command

if __name__ == "__main__":
    sys.exit(training_command("train_mlp", __doc__))

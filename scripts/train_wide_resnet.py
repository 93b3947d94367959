"""Train one Wide ResNet, dense or with random masks of one density, and write its log."""

import sys

from gradflow.commands import training_command


def work():
    """Import the trainer."""
    from gradflow.training import train_job

    return train_job


if __name__ == "__main__":
    sys.exit(training_command(__doc__, work))

"""Train a dense Wide ResNet for half of the epochs: where magnitude pruning starts, at every density."""

import sys

from gradflow.commands import training_command


def work():
    """Import the trainer."""
    from gradflow.pruning import pretrain

    return pretrain


if __name__ == "__main__":
    sys.exit(training_command(__doc__, work))

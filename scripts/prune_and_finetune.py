"""Prune a pretrained Wide ResNet by magnitude to one density, fine-tune it, and write its log."""

import sys

from gradflow.commands import training_command


def work():
    """Import the trainer."""
    from gradflow.pruning import prune_and_finetune

    return prune_and_finetune


if __name__ == "__main__":
    sys.exit(training_command(__doc__, work))

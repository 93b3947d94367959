"""Train a dense Wide ResNet for half of the epochs: where magnitude pruning starts, at every density."""

import sys

from gradflow.workflow.commands import training_command

if __name__ == "__main__":
    sys.exit(training_command("pretrain_wide_resnet", __doc__))

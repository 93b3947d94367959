"""Train one Wide ResNet, dense or with random masks of one density, and write its log."""

import sys

from gradflow.workflow.commands import training_command

if __name__ == "__main__":
    sys.exit(training_command("train_wide_resnet", __doc__))

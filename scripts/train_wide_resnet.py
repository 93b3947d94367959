"""Train one Wide ResNet, dense or with random masks of one density, and write its log."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.workflow.commands import training_command

if __name__ == "__main__":
    sys.exit(training_command("train_wide_resnet", __doc__))

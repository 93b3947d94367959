"""Train a dense Wide ResNet for half of the epochs: where magnitude pruning starts, at every
density.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.workflow.commands import training_command

if __name__ == "__main__":
    sys.exit(training_command("pretrain_wide_resnet", __doc__))

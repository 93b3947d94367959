"""The numbers of the current engine version: when they change, ENGINE_VERSION must be raised.

Make the file of a new version with: python tests/training/test_golden.py
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from gradflow.data.store import fetch_dataset, load_dataset
from gradflow.study.job import ENGINE_VERSION, Configuration, Job, Settings
from gradflow.training.cohort import Cohort
from gradflow.training.magnitude_pruning import prune

GOLDEN = Path(__file__).parent / "golden" / f"engine-{ENGINE_VERSION}.json"
NUMBERS = (
    "train_loss",
    "probe_loss",
    "test_loss",
    "test_accuracy",
    "grad_norm_l1",
    "grad_norm_l2",
    "egf_l1",
    "egf_l2",
)


def jobs() -> dict[str, Job]:
    """Small float64 jobs which between them pass through every part that decides a run's numbers.

    BatchNorm goes with smooth activations: a unit whose inputs are constant leaves it as rounding
    noise about zero, where a kinked activation's derivative would differ from processor to
    processor.
    """
    settings = Settings(precision="float64", probe_images=200)
    found = {}
    for optimizer, activation, regularization in (
        ("adam", "relu", "NR"),
        ("momentum", "prelu", "DA_L2_SC"),
        ("adagrad", "srelu", "L2_SC"),
        ("rmsprop", "swish", "DA_BN"),
        ("sgd", "elu", "SC_BN"),
        ("adamw", "sigmoid", "DA_L2_SC_BN"),
    ):
        configuration = Configuration(
            "digits", "mlp", 4, 0, activation, optimizer, 0.001, regularization
        )
        job = Job(
            "smoke",
            "paper",
            configuration,
            0,
            2,
            ("dense", "sparse"),
            (30, 70),
            20,
            1,
            True,
            settings,
        )
        found[configuration.name] = job
    wide = Configuration("digits", "wide_resnet", 10, 1, "swish", "momentum", 0.1, "DA_L2_SC_BN")
    base = Job("smoke", "paper", wide, 0, 1, ("sparse",), (20,), 0, 1, False, settings)
    found[f"{wide.name}-sparse"] = base
    found[f"{wide.name}-magnitude"] = dataclasses.replace(base, architectures=("magnitude",))
    return found


def numbers(job: Job, data) -> dict[str, list[float]]:
    cohort = Cohort(job, data, torch.device("cpu"))
    if job.architectures == ("magnitude",):
        prune(cohort)
    cohort.train(job.epochs)
    return {
        job.run_name(run): [rows[-1][name] for name in NUMBERS] for run, rows in cohort.rows.items()
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_digits(tmp_path_factory.mktemp("data"))


def load_digits(folder: Path):
    fetch_dataset("digits", folder / "digits.safetensors", folder / "digits.json")
    return load_dataset(folder / "digits.safetensors")


@pytest.mark.parametrize("name", jobs())
def test_numbers_are_those_of_this_engine_version(name, digits):
    assert GOLDEN.exists(), (
        f"no golden numbers for engine version {ENGINE_VERSION}; run: python {__file__}"
    )
    golden = json.loads(GOLDEN.read_text())[name]
    # float64 for some dozens of steps: what differs between processors stays far below the
    # tolerance
    assert numbers(jobs()[name], digits) == {
        run: pytest.approx(row, rel=1e-6) for run, row in golden.items()
    }


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = load_digits(Path(folder))
        found = {name: numbers(job, data) for name, job in jobs().items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")

"""The training scripts: parse a job, choose a device, train, and end with a sentence and an exit
code.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.study.content import as_fetched
from gradflow.study.cost import planned_device
from gradflow.study.job import Job
from gradflow.workflow.attempts import STOPPED, recorded
from gradflow.workflow.warm import TRAINER, Run, hand_over

if TYPE_CHECKING:
    import torch

    Train = Callable[[Job, Path, torch.device, bool], None]


class WithoutPandas:
    """Keeps pandas out of a trainer: pyarrow imports it, a second a job, to ask whether a list is a
    Series.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse pandas; leave everything else to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError("training does without pandas", name=name)


def training_command(script: str, description: str | None) -> int:
    """Run a training script on this process's arguments, by the warm trainer where there is one.

    Args:
        script: the script's name, as `load_scripts` knows it.
        description: its docstring.

    Returns:
        The exit code: 0, 1 after an error that is told in one line, 143 after a request to stop.
        One that comes before training begins, or after its end, ends the process without a word.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # until training begins there is nothing to keep, and nothing to tell
    arguments = sys.argv[1:]

    def work() -> int:
        try:
            # a mistake should not cost the seconds that torch takes to import
            parse(description, arguments)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        code = hand_over(TRAINER, script, arguments)
        return load_scripts()(script, arguments) if code is None else code

    return recorded(work)


@dataclass(frozen=True)
class Arguments:
    """A training script's arguments."""

    job: Job
    results: Path
    threads: int
    keep_weights: bool


def parse(description: str | None, arguments: list[str]) -> Arguments:
    """Read a training script's arguments.

    Raises:
        ValueError: the job is none, or of another engine version.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--job", required=True, help="the job as canonical JSON (gradflow.study.job.Job.to_json)"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--keep-weights",
        metavar="SCALE",
        action="append",
        default=[],
        help="a scale whose runs keep their final weights and masks beside their logs; may be "
        "given several times",
    )
    parsed = parser.parse_args(arguments)
    job = as_fetched(Job.from_json(parsed.job), parsed.results)
    return Arguments(job, parsed.results, parsed.threads, job.scale in parsed.keep_weights)


def load_scripts() -> Run:
    """Import the trainers; what runs a training script, by its name."""
    sys.meta_path.insert(0, WithoutPandas())

    import gradflow.training.devices  # noqa: F401 - so that forks of the warm trainer find it imported
    from gradflow.training.magnitude_pruning import pretrain, prune_and_finetune
    from gradflow.training.train_job import train_job

    trainers: dict[str, Train] = {
        "train_mlp": train_job,
        "train_wide_resnet": train_job,
        "pretrain_wide_resnet": pretrain,
        "prune_and_finetune": prune_and_finetune,
    }
    return lambda script, arguments: run(trainers[script], arguments)


def load_scripts_and_kernels() -> Run:
    """The same for a process that forks for each script: with the CPU step's machine code at
    hand.
    """
    run_script = load_scripts()

    import torch

    from gradflow.training.step_choice import compiler_works

    if planned_device(elsewhere=False) == "cpu":
        torch.set_num_threads(1)  # a thread that is started here would be missing in the forks
        if compiler_works():
            from gradflow.training.native.warm_up import warm_up

            warm_up()
    return run_script


def run(train: Train, arguments: list[str]) -> int:
    """Train the job of a script's arguments."""
    from gradflow.data.store import DataError
    from gradflow.study import own
    from gradflow.study.memory import gpu_memory_mb
    from gradflow.training.checkpoint import CheckpointError
    from gradflow.training.devices import training_device
    from gradflow.training.run_log import RunLogError
    from gradflow.training.train_job import Stopped, gpu_error, is_of_gpu, prepare

    parsed = parse(None, arguments)
    try:
        own.check(parsed.job.own)  # before a data set that is gone is looked up
        with training_device(gpu_memory_mb(parsed.job)) as device:
            prepare(device, parsed.job, parsed.threads)
            train(parsed.job, parsed.results, device, parsed.keep_weights)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except RuntimeError as error:
        if not is_of_gpu(error):
            raise
        print(gpu_error(error, parsed.job), file=sys.stderr)
        return 1
    except (CheckpointError, DataError, RunLogError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0

"""What holds for every test, and what tests of several files share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from faults import Trainer
    from project import Project

# as in a terminal: under `nohup` or a script's `&` they are ignored, and so by what tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# one thread a process, as jobs have: two threads a test on two cores mostly wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
# how long an example takes is up to the machine and its other load
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
# Triton's kernels run in its interpreter, where there is no GPU to run them
if os.environ.get("GRADFLOW_TEST_DEVICE", "cpu") == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the tests marked slow, too")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers for the whole suite, none for a file or test that is named."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests, unless they are asked for: by --all, by -m or by name."""
    if config.option.all or config.option.markexpr or any("::" in name for name in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of which everything is made (`faults.one_table`), undisturbed; tests take
    copies.
    """
    from faults import one_table
    from project import new_project

    project = new_project(tmp_path_factory.mktemp("undisturbed") / "project", one_table)
    project.make("smoke")
    return project


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """A trainer whose processes fork from one that has imported torch."""
    from faults import warm_trainer

    with warm_trainer(tmp_path_factory.mktemp("warm") / "server") as trainer:
        yield trainer

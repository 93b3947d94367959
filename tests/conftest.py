"""What holds for every test, and what tests of several files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from faults import Trainer
    from project import Project

# one thread a process, as jobs have: two threads a test on two cores mostly wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of which everything is made (`faults.one_table`), undisturbed; tests take copies."""
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

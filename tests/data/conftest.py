"""Folders of a test, CIFAR made small, and no network."""

from pathlib import Path

import pytest
from small_cifar import SmallCifar

from gradflow.data import store as data
from gradflow.data.store import DataError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "data"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dataset: str, folder: Path) -> str:
        (folder / "half-written").write_bytes(b"half")
        raise DataError("the download from http://example.invalid failed (no route to host)")

    monkeypatch.setattr(data, "download", fail)


@pytest.fixture(params=["cifar10", "cifar100"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SmallCifar:
    return SmallCifar(request.param, monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine"

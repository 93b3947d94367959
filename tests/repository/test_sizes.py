"""A file holds one concept, so it stays short."""

from __future__ import annotations

from project import ROOT

MOST_LINES = 400
CODE = sorted(
    path
    for pattern in (
        "src/**/*.py",
        "scripts/*.py",
        "benchmark/*.py",
        "tests/**/*.py",
        "rules/*.smk",
        "Snakefile",
    )
    for path in ROOT.glob(pattern)
)


def test_there_is_code() -> None:
    assert len(CODE) > 150


def test_no_file_is_longer() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in CODE}
    too_long = [str(path.relative_to(ROOT)) for path in CODE if lines[path] > MOST_LINES]
    assert not too_long, "split them by concept"

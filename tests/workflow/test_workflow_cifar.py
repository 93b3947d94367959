"""CIFAR-10 and CIFAR-100 from archives in their authors' layout through the real snakemake: fetch,
train, tables.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from project import SNAKEMAKE, Project, environment, new_project
from safetensors.numpy import load_file
from small_cifar import SmallCifar

from gradflow.data import cifar
from gradflow.data.content import arrays_sha256
from gradflow.study.datasets import SHAPES

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

MAX_WIDTH = 20
TABLES = {"cifar10": "table5a", "cifar100": "table6a"}


def tiny_cifar(raw) -> None:
    smoke = raw["scales"]["smoke"]
    raw["scales"] = {
        "paper": raw["scales"]["paper"],
        "smoke": smoke,
    }  # none that takes 10,000 images
    smoke["stand_ins"] = {}
    smoke["max_widths"] = dict.fromkeys(TABLES, MAX_WIDTH)
    block = {
        "depths": [1],
        "learning_rates": [0.001],
        "optimizers": ["adam"],
        "regularizations": ["DA"],
        "activations": ["relu"],
    }
    smoke["studies"] = {f"{dataset}_low": {"epochs": 2, "blocks": [block]} for dataset in TABLES}
    raw["artifacts"] = {name: raw["artifacts"][name] for name in TABLES.values()}


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def expect_archive(
    project: Project, small: SmallCifar, original: cifar.CifarFiles, archive: Path
) -> None:
    """Pin the small archive's checksums and counts in the project's own copy of the library."""
    source = project.folder / "src" / "gradflow"
    small.expect(archive.read_bytes())
    expected = cifar.CIFAR[small.dataset]
    pairs = {original.archive_md5: expected.archive_md5}
    pairs |= {md5: expected.md5[name] for name, md5 in original.md5.items()}
    for old, new in pairs.items():
        replace_once(source / "data" / "cifar.py", old, new)
    images, labels = small.stored
    labels = np.array(labels, np.uint8)
    content = arrays_sha256([images[:10], labels[:10], images[10:], labels[10:]])
    shape = dataclasses.replace(SHAPES[small.dataset], sha256=content)
    with open(source / "study" / "datasets.py", "a") as file:
        file.write(f'\nSHAPES["{small.dataset}"] = {shape}\n')


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = new_project(tmp_path / "project", tiny_cifar)
    for dataset in TABLES:
        original = cifar.CIFAR[dataset]
        small = SmallCifar(dataset, monkeypatch)
        archive = small.write_archive(tmp_path / "originals")
        expect_archive(made, small, original, archive)
        images, labels = small.stored
        np.savez(tmp_path / f"{dataset}.npz", images=images, labels=labels)
    return made


def snakemake(project: Project, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [SNAKEMAKE, *arguments],
        cwd=project.folder,
        env={**environment(), "GRADFLOW_DATA": str(project.folder.parent / "originals")},
        text=True,
        timeout=300,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def test_archives_go_through_fetch_train_and_tables(project: Project) -> None:
    code, output = snakemake(project, "smoke")
    assert code == 0, output
    for dataset, table in TABLES.items():
        written = np.load(project.folder.parent / f"{dataset}.npz")
        fetched = load_file(project.results / "data" / f"{dataset}.safetensors")
        images = np.concatenate([fetched["train_images"], fetched["test_images"]])
        labels = np.concatenate([fetched["train_labels"], fetched["test_labels"]])
        assert np.array_equal(images.reshape(14, 3072), written["images"])
        assert labels.tolist() == written["labels"].tolist()
        manifest = json.loads((project.results / "data" / f"{dataset}.json").read_text())
        assert manifest["counts"] == {"train": 10, "test": 4}
        assert len(manifest["class_names"]) == SHAPES[dataset].classes
        logs = sorted((project.results / "smoke" / "runs" / "paper" / dataset).rglob("*.parquet"))
        assert len(logs) == 10
        sparse = next(log for log in logs if log.name == "sparse-w50.parquet")
        last = pq.read_table(sparse).to_pylist()[-1]
        assert last["total_weights"] == [3072 * MAX_WIDTH, MAX_WIDTH * SHAPES[dataset].classes]
        assert last["active_weights"] == [count // 2 for count in last["total_weights"]]
        cells = pd.read_csv(
            project.results / "smoke" / "tables" / f"{table}.csv", keep_default_na=False
        )
        trained = cells[(cells.optimizer == "adam") & (cells.regularization == "DA")]
        assert trained.n.astype(int).tolist() == [5]
    assert "Nothing to be done" in snakemake(project, "-n", "smoke")[1]


def test_a_wrong_checksum_is_refused_in_one_line(project: Project) -> None:
    archive = project.folder.parent / "originals" / cifar.CIFAR["cifar100"].archive
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    code, output = snakemake(project, "results/data/cifar100.safetensors")
    assert code != 0
    assert "Traceback" not in output
    data = project.results / "data"
    assert not data.exists() or not [
        path for path in data.iterdir() if path.name.startswith("cifar100")
    ]
    message = (project.results / "logs" / "fetch_dataset" / "cifar100.log").read_text()
    assert message.count("\n") == 1
    assert str(archive) in message and "md5" in message
    assert message.strip() in output
    # the intact one is fetched all the same
    assert snakemake(project, "results/data/cifar10.safetensors")[0] == 0

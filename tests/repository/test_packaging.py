"""What stands around the code, once each: versions, the container, GitHub's workflow, the
catalog.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from project import ROOT

import gradflow


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert yaml.safe_load(read("CITATION.cff"))["version"] == gradflow.__version__
    newest = re.search(r"^## (\S+?),? ", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert newest and newest[1] == gradflow.__version__


def test_github_runs_all_that_must_hold() -> None:
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps and os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_container_runs_readmes_first_command() -> None:
    dockerfile = read("Dockerfile")
    words = [
        json.loads(found[1])
        for found in re.finditer(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", dockerfile, flags=re.MULTILINE)
    ]
    command = " ".join(word for part in words for word in part)
    assert f"    {command}\n" in read("README.md").partition("## Start")[2]
    for copied in re.findall(r"^COPY --chown=\S+ (.*) \S+$", dockerfile, flags=re.MULTILINE):
        assert all((ROOT / path).exists() for path in copied.split())


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
def test_the_container_is_linted() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_the_catalog_is_told_what_works() -> None:
    usage = yaml.safe_load(read(".snakemake-workflow-catalog.yml"))["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    conda = usage["software-stack-deployment"]["conda"]
    assert conda == bool(re.search(r"^\s+conda:$", read("rules/train.smk"), flags=re.MULTILINE))

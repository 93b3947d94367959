"""Nothing that a person is given (a configuration, an archive, a path) runs code or writes outside
its place.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from faults import one_table
from project import ROOT, STUDY, Project, new_project
from small_cifar import SmallCifar

from gradflow.data import cifar
from gradflow.data.store import DataError, fetch_dataset
from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.config_file import check_config_file

OWNED = "owned"  # the file that an attack would leave
SHELL = [
    "$(touch owned)",
    "`touch owned`",
    "; touch owned;",
    "' ; touch owned ; '",
    '" ; touch owned ; "',
    "a b",
    "a\nb",
]
FORMATS = ["{input}", "{config}", "{wildcards.nothing}", "{0.__class__}", "{", "}"]
YAML_CODE = {
    "a call": "!!python/object/apply:os.system ['touch owned']",
    "an object": "!!python/object:subprocess.Popen {args: [touch, owned]}",
    "a name": "!!python/name:os.system ''",
    "a tuple": "!!python/tuple [1, 2]",
}


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", YAML_CODE.values(), ids=YAML_CODE)
def test_tags_of_yaml_make_no_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(f"percents: {text}\n")
    with pytest.raises(
        ConfigError, match=r"^config.yaml, line 1: could not determine a constructor for the tag"
    ):
        check_config_file(Path("config.yaml"))
    assert not (tmp_path / OWNED).exists()


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize(
    "text",
    [
        f"percents: {YAML_CODE['a call']}\n",
        "__use_yte__: true\n?__import__('os').system('touch owned'):\n  percents: [10]\n",
        "__use_yte__: true\npercents: \"?__import__('os').system('touch owned')\"\n",
    ],
    ids=["a tag", "a template's key", "a template's value"],
)
def test_the_configuration_runs_no_code(tmp_path: Path, text: str) -> None:
    project = new_project(tmp_path / "project")
    (project.folder / "config.yaml").write_text(text)
    code, output = project.snakemake("-n", "smoke")
    assert code == 1
    assert "The configuration is wrong; nothing was started.\nconfig.yaml" in output
    assert "Traceback" not in output
    assert not (project.folder / OWNED).exists()


def raw_config(project: Path = ROOT) -> dict[str, Any]:
    return Project(project).config()


@pytest.mark.parametrize(
    "name", [*SHELL, *FORMATS, "../up", "/absolute", "a/b", "é", "-n", "--config", ".", ""]
)
@pytest.mark.parametrize("kind", ["scales", "studies", "variants", "artifacts"])
def test_names_are_of_plain_letters(kind: str, name: str) -> None:
    raw = raw_config()
    raw[kind][name] = next(iter(raw[kind].values()))
    with pytest.raises(
        ConfigError, match="a name has small letters, digits and underscores only"
    ) as caught:
        load_config(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "field", ["optimizers", "regularizations", "activations", "depths", "learning_rates"]
)
@pytest.mark.parametrize("value", [*SHELL, *FORMATS])
def test_a_configurations_name_is_made_of_known_parts(field: str, value: str) -> None:
    raw = raw_config()
    raw["studies"][STUDY]["blocks"][0][field] = [value]
    with pytest.raises(
        ConfigError, match=rf"^studies.{STUDY}.blocks\[0\].{field}\[0\]: "
    ) as caught:
        load_config(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.workflow
@pytest.mark.slow
def test_a_hostile_folder_and_title_are_only_text(tmp_path: Path) -> None:
    """Also the test that a path may hold spaces."""
    title = " ".join(
        [*SHELL, *FORMATS, "<script>alert(1)</script>", r"\input{/etc/passwd}", "%", "_", "&"]
    )

    def edit(raw: dict[str, Any]) -> None:
        one_table(raw)
        raw["artifacts"]["table4"]["title"] = title

    project = new_project(tmp_path / 'it\'s my "project" $(touch owned)', edit)
    project.make("smoke")
    assert not list(tmp_path.rglob(OWNED))
    tables = project.results / "smoke" / "tables"
    page, latex = (tables / "table4.html").read_text(), (tables / "table4.tex").read_text()
    assert "$(touch owned)" in page and "{wildcards.nothing}" in page
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    assert r"\input{" not in latex and "touch owned" in latex
    assert not project.plan().counts


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize(
    "name", ["$(touch owned)", "mlp1-relu-adam-lr0.001-NR;touch owned", "../../../../owned"]
)
def test_a_target_is_no_command(tmp_path: Path, name: str) -> None:
    project = new_project(tmp_path / "project", one_table)
    code, output = project.snakemake(
        f"results/smoke/runs/paper/digits/{name}/seed0/dense-w10.parquet"
    )
    assert code == 1
    assert "Traceback" not in output
    assert not list(tmp_path.rglob(OWNED))


# --- archives -------------------------------------------------------------------------------------


def archive_with(small: SmallCifar, *infos: tarfile.TarInfo) -> bytes:
    """The small archive, and before its files members of any kind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info in infos:
            archive.addfile(info)
        for name, content in small.batches.items():
            info = tarfile.TarInfo(f"{small.files.folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SmallCifar:
    return SmallCifar("cifar10", monkeypatch)


def fetch(small: SmallCifar, archive: bytes, folder: Path) -> None:
    (folder / "originals").mkdir()
    (folder / "originals" / small.files.archive).write_bytes(archive)
    small.expect(archive)
    out = folder / "data" / "cifar10.safetensors"
    fetch_dataset("cifar10", out, out.with_suffix(".json"), folder / "originals")


@pytest.mark.parametrize(
    "infos",
    [
        [
            member("cifar-10-batches-py", tarfile.SYMTYPE, "..")
        ],  # what follows would be written through it
        [member("cifar-10-batches-py/owned", tarfile.SYMTYPE, "/tmp/owned")],
        [member("cifar-10-batches-py/test_batch", tarfile.LNKTYPE, "/etc/passwd")],
        [member("cifar-10-batches-py/owned", tarfile.FIFOTYPE)],
        [member("../owned", tarfile.REGTYPE), member("/owned", tarfile.REGTYPE)],
    ],
    ids=["a link to above", "a link out", "a hard link", "a pipe", "paths out"],
)
def test_an_archive_writes_nothing_whatever_its_members(
    small: SmallCifar, tmp_path: Path, infos: list[tarfile.TarInfo]
) -> None:
    fetch(small, archive_with(small, *infos), tmp_path)
    files = sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert files == [
        "data/cifar10.json",
        "data/cifar10.safetensors",
        f"originals/{small.files.archive}",
    ]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not Path("/owned").exists() and not Path("/tmp/owned").exists()


def test_a_link_in_place_of_a_batch_is_not_followed(small: SmallCifar, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(small.batches["test_batch"])
    del small.batches["test_batch"]
    content = archive_with(
        small, member("cifar-10-batches-py/test_batch", tarfile.SYMTYPE, str(tmp_path / "secret"))
    )
    with pytest.raises(DataError, match="lacks test_batch"):
        fetch(small, content, tmp_path)


def test_a_malicious_pickle_under_the_right_name_is_never_loaded(tmp_path: Path) -> None:
    """With the authors' own checksums, as in real use: whatever an archive of that name holds, it
    stays bytes.
    """
    target = tmp_path / OWNED
    attack = b"cos\nsystem\n(S'touch %s'\ntR." % str(target).encode()
    files = cifar.CIFAR["cifar10"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in files.md5:
            info = tarfile.TarInfo(f"{files.folder}/{name}")
            info.size = len(attack)
            archive.addfile(info, io.BytesIO(attack))
    out = tmp_path / "data" / "cifar10.safetensors"
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / files.archive).write_bytes(buffer.getvalue())
    extracted = tmp_path / "extracted" / files.folder
    extracted.mkdir(parents=True)
    for name in files.md5:
        (extracted / name).write_bytes(attack)
    for folder in ("archive", "extracted"):
        with pytest.raises(DataError, match="has md5") as caught:
            fetch_dataset("cifar10", out, out.with_suffix(".json"), tmp_path / folder)
        assert "\n" not in str(caught.value)
    assert not target.exists() and not out.exists()
    assert hashlib.md5(attack).hexdigest() not in files.md5.values()


# --- the code -------------------------------------------------------------------------------------

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "torch.load",
    "pickle.Unpickler", "yaml.unsafe_load", "yaml.full_load", "marshal.loads", "archive.extractall",
    "archive.extract", "pd.read_pickle",
}  # fmt: skip


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_the_code_has_one_unpickler_and_no_shell() -> None:
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py")]
    assert len(files) > 50
    unpicklers = []
    for file in files:
        tree = ast.parse(file.read_text())
        for name, call in calls(tree):
            assert name not in FORBIDDEN, f"{file}: {name}"
            assert not any(word.arg == "shell" for word in call.keywords), (
                f"{file}: {name} through a shell"
            )
            if name == "yaml.load":
                safe = (
                    "UniqueKeys",
                    "LOADER",  # of study/config_file.py: one of those below
                    "getattr(yaml, 'CSafeLoader', yaml.SafeLoader)",
                )  # a SafeLoader, and PyYAML's own
                assert ast.unparse(call.args[1]) in safe
        unpicklers += [
            file.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            and any("Unpickler" in ast.unparse(base) for base in node.bases)
        ]
    assert unpicklers == ["cifar.py"]


@pytest.mark.slow
@pytest.mark.workflow
def test_a_folder_that_snakemake_would_misread_is_refused_in_a_line(tmp_path: Path) -> None:
    project = new_project(tmp_path / "a {input} b", one_table)
    code, output = project.snakemake("-n", "smoke")
    assert code == 1
    assert "Snakemake takes braces in a path for wildcards, so rename the folder" in output
    assert "Traceback" not in output

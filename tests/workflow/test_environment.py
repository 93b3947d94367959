"""What a person's environment holds changes no figure, and stops nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType

import pytest
from project import ROOT, wait_for

from gradflow.study.cost import CostModel
from gradflow.study.finished_jobs import records
from gradflow.workflow import warm
from gradflow.workflow.lock import take_results_lock

# --- figures --------------------------------------------------------------------------------------

FIGURE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from matplotlib.figure import Figure
    from gradflow.analysis.figures import save_figure, style
    with style():
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        axes.plot([0, 1, 2], [-1, 0, 1], label="a line")
        axes.legend()
    save_figure(figure, *map(Path, sys.argv[1:]))
    """
)
SETTINGS = {
    "dark": "axes.facecolor: navy\nsavefig.transparent: "
    "True\nlines.linewidth: 9\nlegend.loc: center\n",
    "latex": "text.usetex: True\n",
    "cropped": "savefig.bbox: tight\nsavefig.dpi: 50\npdf.compression: 0\nimage.cmap: gray\n",
    "not text": "\xff\xfe: \x00\n",
    "unknown": "no.such.key: 1\nfont.size: large\n",
}


def draw(folder: Path, name: str, **environment: str) -> tuple[bytes, bytes]:
    """A figure's two files, drawn as a job draws it."""
    script = folder / "figure.py"
    script.write_text(FIGURE)
    files = [folder / f"{name}.{ending}" for ending in ("pdf", "png")]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MPL")}
    done = subprocess.run(
        [sys.executable, "-m", "gradflow.workflow.draw", str(script), *map(str, files)],
        env={**inherited, "PYTHONPATH": str(ROOT / "src"), **environment},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return files[0].read_bytes(), files[1].read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    return draw(tmp_path_factory.mktemp("plain"), "plain")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_matplotlibrc_changes_no_figure(tmp_path: Path, plain: object, name: str) -> None:
    (tmp_path / "rc").write_text(SETTINGS[name], encoding="latin-1")
    assert draw(tmp_path, "figure", MATPLOTLIBRC=str(tmp_path / "rc")) == plain


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "no_such_backend"},
        {"MPLBACKEND": "TkAgg", "DISPLAY": ":77"},
        {"HOME": "/proc/nohome", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""},
        {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "TZ": "Asia/Tokyo"},
    ],
    ids=["a notebook's", "unknown", "a window's", "no home", "another country's"],
)
def test_the_environment_changes_no_figure(
    tmp_path: Path, plain: object, environment: dict[str, str]
) -> None:
    assert draw(tmp_path, "figure", **environment) == plain


# --- the warm servers -----------------------------------------------------------------------------


def test_a_long_temporary_folder_gets_a_short_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert warm._short_folder() == "/tmp"
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp")
    assert warm._short_folder() == "/var/tmp"


@pytest.mark.parametrize("path", ["/nowhere/socket", "x" * 300, "\udcff", ""])
def test_without_a_server_the_work_is_done_here(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(warm.DRAWER, path)
    assert warm.hand_over(warm.DRAWER, "a script", []) is None


def test_folders_of_killed_servers_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(warm, "_short_folder", lambda: str(tmp_path))
    dead, alive, young, other = (tmp_path / f"gradflow-{name}" for name in "dayo")
    code = "import sys; from gradflow.workflow import warm; warm.serve(sys.argv[1], None)"
    servers = {}
    for folder in (dead, alive, young):
        folder.mkdir()
        servers[folder] = subprocess.Popen(
            [sys.executable, "-c", code, str(folder / "socket")],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        wait_for((folder / "socket").exists)
    other.mkdir()
    (other / "a file of somebody's").touch()
    for folder in (dead, young):
        servers[folder].kill()
        servers[folder].wait()
    old = time.time() - 3600
    for folder in (dead, alive, other):
        os.utime(folder, (old, old))
    warm._remove_dead_servers()
    assert [folder.exists() for folder in (dead, alive, young, other)] == [False, True, True, True]
    _, said = servers[
        alive
    ].communicate()  # it ends with its standard input, undisturbed until then
    assert (servers[alive].returncode, said) == (0, b"") and not alive.exists()


# --- files that others wrote ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b"[" * 5000, b'{"spec": 5}', b'{"spec": "{}"}',
        b'{"spec": SPEC, "device_type": "cpu", "pretraining": false, "seconds": NaN}',
        b'{"spec": SPEC, "device_type": "cpu", "pretraining": false, "seconds": Infinity}',
        b'{"spec": SPEC, "device_type": "cpu", "pretraining": false, "seconds": -1}',
        b'{"spec": SPEC, "device_type": ["cpu"], "pretraining": false, "seconds": 1}',
        b'{"spec": EMPTY, "device_type": "cpu", "pretraining": false, "seconds": 1}',
        b'{"spec": HUGE, "device_type": "cpu", "pretraining": false, "seconds": 1}',
        b'{"spec": SPEC, "device_type": "cpu", "pretraining": false, "seconds": 1}',  # by autograd
    ],
)  # fmt: skip
def test_a_bad_line_of_costs_is_passed_over(tmp_path: Path, line: bytes) -> None:
    from cohorts import make_job

    job = make_job()
    spec = job.to_json()
    plain = json.loads(spec)
    empty = {**plain, "settings": {**plain["settings"], "batch_size": 0}}
    huge = {**plain, "epochs": 10**400}
    for word, text in ((b"SPEC", spec), (b"EMPTY", json.dumps(empty)), (b"HUGE", json.dumps(huge))):
        line = line.replace(word, json.dumps(text).encode())
    good: dict[str, object] = {"spec": spec, "device_type": "cpu", "pretraining": False}
    good |= {"native": True, "seconds": 7.0}
    path = tmp_path / "smoke" / "state" / "costs.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(line + b"\n" + json.dumps(good).encode() + b"\n")
    assert list(records(tmp_path))[-1] == good
    costs = CostModel.of_results(tmp_path)
    assert costs.factor("mlp", "cpu").jobs == 1
    assert costs.runtime(job, "cpu") > 0


def test_costs_that_are_a_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "smoke" / "state" / "costs.jsonl").mkdir(parents=True)
    assert list(records(tmp_path)) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81", b"12", b"a b c d\n" * 9])
def test_a_lock_with_any_content_can_be_taken(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["snakemake"])
    lock = tmp_path / "results" / ".lock"
    lock.parent.mkdir()
    lock.write_bytes(content)
    held = take_results_lock(True, lock.parent)
    assert held is not None
    lock.write_bytes(content)  # while it is held: the one that is refused reads it
    with pytest.raises(SystemExit, match="Another snakemake"):
        take_results_lock(True, lock.parent)
    held.close()


# --- bootstrap ------------------------------------------------------------------------------------


def load_bootstrap(here: Path) -> ModuleType:
    """bootstrap.py as it would lie in a folder."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HERE, module.VENV = str(here), str(here / ".venv")
    module.BIN, module.STAMP = str(here / ".venv/bin"), str(here / ".venv/made-from")
    return module


def make_environment(here: Path) -> ModuleType:
    """A folder that looks as an environment that was made there."""
    for folder in (
        "bin",
        "lib/python3.11/site-packages/torch",
        "lib/python3.11/site-packages/numpy",
    ):
        (here / ".venv" / folder).mkdir(parents=True)
    (here / ".venv/bin/python").symlink_to(sys.executable)
    (here / ".venv/bin/snakemake").touch()
    module = load_bootstrap(here)
    (here / ".venv/contents").write_text(
        "\n".join([os.path.realpath(here / ".venv"), *sorted(module.contents())])
    )
    return module


def test_an_environment_of_its_own_is_whole_and_may_grow(tmp_path: Path) -> None:
    module = make_environment(tmp_path)
    assert module.whole()
    (tmp_path / ".venv/lib/python3.11/site-packages/extra").mkdir()
    assert module.whole()
    (tmp_path / ".venv/contents").unlink()  # of one that was made before this was looked at
    assert module.whole()


@pytest.mark.parametrize(
    "damage",
    [
        "bin/python", "bin/snakemake", "lib/python3.11/site-packages/torch", "lib",
        "python that is gone", "python that fails", "moved",
    ],
)  # fmt: skip
def test_a_damaged_or_moved_environment_is_made_anew(tmp_path: Path, damage: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    module = make_environment(here)
    python = here / ".venv/bin/python"
    if damage == "moved":
        here.rename(tmp_path / "there")
        module = load_bootstrap(tmp_path / "there")
    elif damage == "python that is gone":
        python.unlink()
        python.symlink_to("/nowhere/python3")
    elif damage == "python that fails":
        python.unlink()
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    else:
        (here / ".venv" / damage).rename(tmp_path / "gone")
    assert not module.whole()


TWICE = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_environment import load_bootstrap, make_environment
    here = Path(sys.argv[2])
    module = load_bootstrap(here)
    def make(wanted):
        with open(here / "made", "a") as made:
            made.write("begun ")
            made.flush()
            time.sleep(0.5)
            make_environment(here)
            Path(module.STAMP).write_text(wanted)
            made.write("ended ")
    module.make = make
    module.main([sys.executable, "-c", "print('ran')"])
    """
)


def test_two_at_once_make_one_environment(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWICE, str(Path(__file__).parent), str(tmp_path)],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ,
                 "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])},
        )
        for _ in range(3)
    ]  # fmt: skip
    assert [process.communicate(timeout=300)[0] for process in processes] == ["ran\n"] * 3
    assert (tmp_path / "made").read_text() == "begun ended "


@pytest.mark.parametrize("home", ["/proc/nohome", "/dev/null", None])
def test_what_bootstrap_passes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    module = make_environment(tmp_path)
    wanted: list[str] = []
    monkeypatch.setattr(module, "make", wanted.append)
    monkeypatch.setenv("PYTHONPATH", "/opt/modules/python")
    monkeypatch.setenv("PYTHONHOME", "/opt/modules/python")
    monkeypatch.setenv("HOME", home or str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    seen: dict[str, str] = {}
    monkeypatch.setattr(module.os, "execvp", lambda *_: seen.update(os.environ))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("VIRTUAL_ENV", "")
    module.main(["true"])
    assert len(wanted) == 1  # there is no stamp
    assert not {"PYTHONPATH", "PYTHONHOME"} & seen.keys()
    assert seen["PATH"].startswith(str(tmp_path / ".venv/bin"))
    if home:
        assert seen["XDG_CACHE_HOME"] == str(tmp_path / ".snakemake/cache")
        assert Path(seen["XDG_CACHE_HOME"]).is_dir()
    else:
        assert "XDG_CACHE_HOME" not in seen


def test_bootstrap_lets_snakemake_find_the_plugin(tmp_path: Path) -> None:
    """In an environment of another time too, and once."""
    module = make_environment(tmp_path)
    module.install_ours()
    path = tmp_path / ".venv/lib/python3.11/site-packages/gradflow.pth"
    assert path.read_text() == f"{tmp_path}/src\n"
    assert os.access(tmp_path / ".venv/bin/gradflow", os.X_OK)
    path.chmod(0o444)
    before = path.stat()
    module.install_ours()
    assert path.stat() == before


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_bootstrap_prints_help_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    module = load_bootstrap(tmp_path)
    monkeypatch.setattr(module, "make", lambda _: pytest.fail("an environment was made"))
    with pytest.raises(SystemExit) as end:
        module.main([option])
    assert not end.value.code
    assert "python3 bootstrap.py snakemake quick" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

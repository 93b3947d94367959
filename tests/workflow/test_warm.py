"""A script that hands its job to the warm trainer behaves as one that does the work itself."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from project import ROOT, wait_for

from gradflow.workflow import warm

# a server whose only script does as it is told
SERVER = textwrap.dedent(
    """
    import sys, time, os, signal
    from gradflow.workflow import warm

    def run(script, arguments):
        match arguments[0]:
            case "say":
                print("out", os.getcwd(), os.environ["COLOUR"])
                print("err", file=sys.stderr)
                return 3
            case "exit":
                sys.exit(None if arguments[1] == "None" else arguments[1])
            case "raise":
                raise ValueError("planted")
            case "sleep":
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
                print("pid", os.getpid(), flush=True); time.sleep(60)

    warm.serve(sys.argv[1], lambda: run)
    """
)
CLIENT = (
    "import sys; from gradflow.workflow import warm; sys.exit(warm.hand_over(warm.TRAINER, "
    "'script', sys.argv[1:]) or 0)"
)


@pytest.fixture
def environment(tmp_path):
    """A running server's environment variables, for clients."""
    source = str(ROOT / "src")
    folder = tmp_path / "socket-folder"
    folder.mkdir()
    found = {**os.environ, "PYTHONPATH": source, warm.TRAINER: str(folder / "s"), "COLOUR": "green"}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, found[warm.TRAINER]], stdin=subprocess.PIPE, env=found
    )
    wait_for((folder / "s").exists)
    yield found
    server.stdin.close()
    assert server.wait(300) == 0
    assert not folder.exists()  # it leaves nothing behind


def start(environment, *arguments, **options):
    command = [sys.executable, "-c", CLIENT, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **options)


def alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 10
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(process)


def test_streams_folder_environment_and_exit_code_are_the_scripts_own(environment, tmp_path):
    client = start({**environment, "COLOUR": "blue"}, "say", cwd=tmp_path)
    out, err = client.communicate(timeout=300)
    assert (client.returncode, out, err) == (3, f"out {tmp_path} blue\n", "err\n")


def test_an_error_is_told_as_by_an_unforked_script(environment):
    client = start(environment, "raise")
    _, err = client.communicate(timeout=300)
    assert client.returncode == 1
    assert err.splitlines()[-1] == "ValueError: planted"


@pytest.mark.parametrize(("value", "code", "said"), [("None", 0, ""), ("no runs", 1, "no runs\n")])
def test_sys_exit_is_the_scripts_own(environment, value, code, said):
    client = start(environment, "exit", value)
    assert client.communicate(timeout=300) == ("", said)
    assert client.returncode == code


def test_sigterm_is_passed_on(environment):
    client = start(environment, "sleep")
    process = int(client.stdout.readline().split()[1])
    client.send_signal(signal.SIGTERM)
    assert client.wait(300) == 143
    wait_for_end(process)


def test_a_killed_script_takes_its_fork_along(environment):
    client = start(environment, "sleep")
    process = int(client.stdout.readline().split()[1])
    client.kill()
    client.wait(300)
    wait_for_end(process)


def test_a_killed_fork_ends_its_script_with_a_sentence(environment):
    client = start(environment, "sleep")
    process = int(client.stdout.readline().split()[1])
    os.kill(process, signal.SIGKILL)
    _, err = client.communicate(timeout=300)
    assert client.returncode == warm.DIED
    assert err == f"script: its process {process} was killed\n"


def test_without_a_server_the_script_does_the_work_itself(monkeypatch, tmp_path):
    monkeypatch.delenv(warm.TRAINER, raising=False)
    assert warm.hand_over(warm.TRAINER, "script", []) is None
    monkeypatch.setenv(warm.TRAINER, str(tmp_path / "gone"))
    assert warm.hand_over(warm.TRAINER, "script", []) is None

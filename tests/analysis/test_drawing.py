"""A table's or figure's script, run in a fork of the warm drawing server, does what it does by
itself.
"""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gradflow.workflow.draw import LIBRARIES
from gradflow.workflow.warm import DRAWER

SOURCE = str(Path(__file__).parents[2] / "src")
DRAW = "gradflow.workflow.draw"
SCRIPT = textwrap.dedent(
    f"""
    import sys

    if __name__ == "__main__":
        print(sys.argv, all(library in sys.modules for library in {LIBRARIES}))
        match sys.argv[1]:
            case "stop":
                sys.exit("no runs")
            case "raise":
                raise ValueError("planted")
    """
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The environment variable of a server that lives as long as the tests of this file."""
    socket = tmp_path_factory.mktemp("server") / "folder" / "socket"
    socket.parent.mkdir()
    server = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "gradflow.workflow.warm",
            f"{DRAW}:load_libraries",
            str(socket),
        ],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    while not socket.exists():
        assert server.poll() is None
        time.sleep(0.02)
    yield {DRAWER: str(socket)}
    assert server.stdin
    server.stdin.close()
    assert server.wait(300) == 0


def run(folder, settings, *arguments):
    (folder / "script.py").write_text(SCRIPT)
    kept = {name: value for name, value in os.environ.items() if name != DRAWER}
    command = [sys.executable, "-P", "-m", DRAW, "script.py", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PYTHONPATH": SOURCE, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("what", "code", "said"), [("go", 0, ""), ("stop", 1, "no runs"), ("raise", 1, "planted")]
)
def test_forked_or_not_a_script_does_the_same(tmp_path, settings, what, code, said):
    alone, forked = run(tmp_path, {}, what, "a b"), run(tmp_path, settings, what, "a b")
    assert [alone.stdout, forked.stdout] == [
        f"['script.py', '{what}', 'a b'] {state}\n" for state in (False, True)
    ]
    for done in (alone, forked):
        assert done.returncode == code
        assert done.stderr.strip().endswith(said)
        assert bool(done.stderr) == bool(said)

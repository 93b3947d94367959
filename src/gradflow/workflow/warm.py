"""Warm servers: a process that has imported what scripts need, and forks for each of them.

Importing torch takes about three CPU seconds, as long as a small job trains; pandas, scipy and
matplotlib take as long, and a table is made in a tenth of that. The workflow starts a server for
training and one for drawing (`start`), which import with their first job. A script hands its work
over (`hand_over`) and stands for it: it waits, passes signals on, and ends with its exit code. When
there is no server, or it went away, the script simply does the work itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType

from gradflow.files import is_locked, try_lock

# environment variables: where a server listens
TRAINER = "GRADFLOW_WARM_TRAINER"
DRAWER = "GRADFLOW_WARM_DRAWER"
# for matplotlib: a notebook's backend needs the notebook, and a file of settings may stop its
# import
PLAIN = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
PREFIX, ALIVE = "gradflow-", "alive"  # a server's folder, and the file in it that it locks
SOCKET_BYTES = 100  # of a socket's path: macOS takes 104, Linux 108
DIED = 137  # exit code of a script whose forked process was killed, as a shell reports SIGKILL
Run = Callable[[str, list[str]], int]  # a script's name and arguments to its exit code


def start(server: str, load: Callable[[], Run], source: Path) -> None:
    """Start a server for the jobs of this process; it ends with this process.

    Args:
        server: TRAINER or DRAWER.
        load: a function of a module, which the server calls with its first job (`serve`).
        source: the folder that holds the package.
    """
    _remove_dead_servers()
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=_short_folder())
    os.environ[server] = os.path.join(folder, "socket")
    environment = {**os.environ, "PYTHONPATH": str(source), **PLAIN}
    # it reads the end of its standard input when this process dies, however it dies
    subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gradflow.workflow.warm",
            f"{load.__module__}:{load.__qualname__}",
            os.environ[server],
        ],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the scripts, which pass it on
    )


def _short_folder() -> str:
    """The temporary folder, or /tmp where the path of a socket in it would be too long for the
    system.
    """
    folder = tempfile.gettempdir()
    longest = os.path.join(folder, f"{PREFIX}12345678", "socket")
    return folder if len(os.fsencode(longest)) < SOCKET_BYTES else "/tmp"


def _remove_dead_servers() -> None:
    """Remove this user's folders of servers that were killed with all else and could not.

    A living one, and each of its forks, holds the lock; it is not connected to, since it would
    fork.
    """
    for folder in Path(_short_folder()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            about = folder.stat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < 60:
                continue  # another's, or one that is only about to begin
            if not (folder / ALIVE).exists() or is_locked(folder / ALIVE):
                continue
            for name in ("socket", ALIVE):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def hand_over(server: str, script: str, arguments: list[str]) -> int | None:
    """Let a server run `script` in a fork, and wait for it.

    Returns:
        Its exit code; None when there is no server, so that the caller does the work itself.
    """
    path = os.environ.get(server)
    if not path:
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            request = {
                "script": script,
                "arguments": arguments,
                "folder": os.getcwd(),
                "environment": dict(os.environ),
            }
            message = json.dumps(request).encode()
            socket.send_fds(
                connection,
                [len(message).to_bytes(8, "big")],
                [sys.stdout.fileno(), sys.stderr.fileno()],
            )
            connection.sendall(message)
            process = int.from_bytes(_receive(connection, 8), "big")
        except OSError:  # it is gone, or its path is too long for the system
            return None

        asked: list[int] = []

        def pass_on(number: int, _frame: FrameType | None) -> None:
            asked.append(number)
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(process, number)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, pass_on)
        try:
            return int.from_bytes(_receive(connection, 8), "big")
        except OSError:
            if asked:  # it did as it was asked, before it trained or after
                return 128 + asked[0]
            print(f"{script}: its process {process} was killed", file=sys.stderr)
            return DIED


def serve(path: str, load: Callable[[], Run]) -> None:
    """Accept jobs until standard input ends.

    Args:
        path: the socket to listen on.
        load: imports what the jobs need and returns what runs them; called with the first job.
    """
    run: Run | None = None
    alive = try_lock(Path(path).with_name(ALIVE))  # while it lives nobody removes its folder
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(128)  # early jobs wait here for the imports
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are reaped by the system
        # no thread waits for the end of standard input, since a process with threads must not fork
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            run = run or load()
            if os.fork() == 0:
                listener.close()
                os._exit(_run(connection, run))
            connection.close()
    # its forks go on
    for name in (path, Path(path).with_name(ALIVE)):
        Path(name).unlink(missing_ok=True)
    Path(path).parent.rmdir()
    if alive is not None:
        alive.close()


def _run(connection: socket.socket, run: Run) -> int:
    """In the fork: take the request, run the script, send the exit code."""
    code = 1
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # as the scripts have it (`commands.training_command`)
    try:
        size, streams, _, _ = socket.recv_fds(connection, 8, 2)
        if not size:  # whoever it was has nothing to do
            os._exit(0)
        request = json.loads(_receive(connection, int.from_bytes(size, "big")))
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        try:
            connection.sendall(os.getpid().to_bytes(8, "big"))
        except OSError:  # the script was stopped while it waited for this server
            os._exit(DIED)
        threading.Thread(target=_die_with_script, args=(connection,), daemon=True).start()
        code = run(request["script"], request["arguments"])
    except SystemExit as stop:
        code = exit_code(stop)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # what an unforked script would print
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(code.to_bytes(8, "big"))
    return code


def exit_code(stop: SystemExit) -> int:
    """The code that Python ends with; a message is printed, as Python does."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionResetError("the other side is gone")
        received += piece
    return received


def _die_with_script(connection: socket.socket) -> None:
    """Without the script that stands for it a fork would train on unseen: it dies as the script
    did.
    """
    with suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve: `python -m gradflow.workflow.warm MODULE:FUNCTION SOCKET`."""
    load, path = sys.argv[1:]
    serve(path, resolve_name(load))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Run a command in the project's environment, which is made first where it is missing or out of date.

    python3 bootstrap.py snakemake quick
    python3 bootstrap.py pytest

The environment is .venv, from the pinned envs/requirements.txt. Needs Python 3.11 or newer with pip and venv.
"""

import hashlib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
BIN = os.path.join(VENV, "bin")
LOCK = os.path.join(HERE, "envs", "requirements.txt")
STAMP = os.path.join(VENV, "made-from")


def main(command):
    """Make the environment if need be, then become the command."""
    if sys.version_info < (3, 11):
        sys.exit(
            "gradflow needs Python 3.11 or newer; this is %d.%d. Try: python3.11 bootstrap.py" % sys.version_info[:2]
        )
    if not command:
        sys.exit(__doc__)
    with open(LOCK, "rb") as lock:
        wanted = hashlib.sha256(lock.read()).hexdigest() + " %d.%d" % sys.version_info[:2]
    if read(STAMP) != wanted:
        make(wanted)
    os.environ["PATH"] = BIN + os.pathsep + os.environ.get("PATH", "")
    os.environ["VIRTUAL_ENV"] = VENV
    os.environ.pop("PYTHONHOME", None)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit("%s: %s; try: python3 bootstrap.py snakemake quick" % (command[0], error.strerror))


def make(wanted):
    """Make .venv anew. The stamp comes last, so that an interrupted attempt is made again."""
    print("Making the environment in .venv (about half a minute, 7 GB on disk) ...", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        # pip brings uv, checked against the same lock; uv does the rest in a tenth of pip's time
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as uv_alone:
            uv_alone.write(requirement("uv"))
            uv_alone.flush()
            pip = [os.path.join(BIN, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--require-hashes", "-r", uv_alone.name], check=True)
        uv = [os.path.join(BIN, "uv"), "pip", "sync", "--quiet", "--require-hashes"]
        subprocess.run([*uv, "--python", os.path.join(BIN, "python"), LOCK], check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(
            "The environment could not be made (see above; it needs the package index); the same command tries again. "
            "Failed: %s" % " ".join(error.cmd[:4])
        )
    with open(STAMP, "w") as stamp:
        stamp.write(wanted)


def requirement(name):
    """The lines of the lock file for one package, hashes included."""
    lines, found = [], False
    with open(LOCK) as lock:
        for line in lock:
            if not line.startswith((" ", "#")):
                found = line.startswith(name + "==")
            if found:
                lines.append(line)
    return "".join(lines)


def read(path):
    """The content of a file, or None."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])

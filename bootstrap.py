#!/usr/bin/env python3
"""Run a command in the project's environment, which is made first where it is missing or out of
date.

    python3 bootstrap.py snakemake quick
    python3 bootstrap.py pytest

The environment is .venv, from the pinned envs/requirements.txt. Needs Python 3.11 or newer with pip
and venv.
"""

import contextlib
import difflib
import fcntl
import glob
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
BIN = os.path.join(VENV, "bin")
LOCK = os.path.join(HERE, "envs", "requirements.txt")
STAMP = os.path.join(VENV, "made-from")
CONTENTS = "contents"  # beside it: the environment's own path, and what lay in it when it was made
LAUNCH = "from gradflow.cli import main; sys.exit(main())"


def main(command):
    """Make the environment if need be, then become the command."""
    if sys.version_info < (3, 11):
        sys.exit(
            "gradflow needs Python 3.11 or newer; this is %d.%d. Try: python3.11 bootstrap.py"
            % sys.version_info[:2]
        )
    if not command or command[0] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(not command)
    if os.path.basename(command[0]) == "snakemake":
        mistake = snakemake_mistake(command[1:])
        if mistake:
            sys.exit(mistake)
    with open(LOCK, "rb") as lock:
        wanted = hashlib.sha256(lock.read()).hexdigest() + " %d.%d gradflow" % sys.version_info[:2]
    for other in (
        "PYTHONHOME",
        "PYTHONPATH",
    ):  # as a cluster's modules set them, for another Python
        os.environ.pop(other, None)
    with alone():
        if read(STAMP) != wanted or not whole():
            make(wanted)
        install_ours()
    os.environ["PATH"] = BIN + os.pathsep + os.environ.get("PATH", "")
    os.environ["VIRTUAL_ENV"] = VENV
    name_caches()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit("%s: %s; try: python3 bootstrap.py snakemake quick" % (command[0], error.strerror))


def snakemake_mistake(arguments):
    """One sentence on what Snakemake would answer with a page before it reads the Snakefile; None
    where all is well.
    """
    if not given(arguments, "-s", "--snakefile") and not os.path.exists("Snakefile"):
        return "There is no Snakefile in %s; first: cd %s" % (os.getcwd(), HERE)
    for path in given(arguments, "--configfile", "--configfiles"):
        if not os.path.isfile(path):
            return "--configfile %s: there is no such file%s" % (
                path,
                nearest(path, glob.glob("*.yaml")),
            )
    executors = given(arguments, "-e", "--executor")
    homes = [".", os.path.expanduser("~/.config/snakemake"), "/etc/xdg/snakemake"]
    for profile in given(arguments, "--profile"):
        found = [
            os.path.join(home, profile)
            for home in homes
            if os.path.exists(os.path.join(home, profile))
        ]
        if not found and profile != "none":
            ours = [
                path
                for path in glob.glob("profiles/*")
                if path != os.path.join("profiles", "default")
            ]
            return "--profile %s: there is no such profile%s" % (profile, nearest(profile, ours))
        for path in found[:1]:
            names = glob.glob(os.path.join(path, "config*.yaml")) if os.path.isdir(path) else [path]
            for line in "".join(read(name) or "" for name in names).splitlines():
                if line.startswith("executor:"):
                    executors.append(line.split("#")[0].partition(":")[2].strip())
    for executor in executors:
        plugin = "snakemake_executor_plugin_" + executor.replace("-", "_")
        lock = os.path.join("envs", executor + ".txt")
        installed = glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", plugin))
        if os.path.exists(os.path.join(HERE, lock)) and not installed:
            return (
                "Executor %s is not installed; once: python3 bootstrap.py uv pip install "
                "--require-hashes -r %s"
                % (
                    executor,
                    lock,
                )
            )
    return None


def given(arguments, *options):
    """The values of an option, up to the next option; a target behind one that takes several is no
    file of YAML.
    """
    values, wanted = [], False
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            wanted = name in options and not equals
            if name in options and equals:
                values.append(value)
        elif wanted:
            values.append(word)
            wanted = "--configfile" in options and word.endswith((".yaml", ".yml", ".json"))
    return values


def nearest(word, valid):
    """The nearest of the valid words, as the end of a sentence, or all of them."""
    close = difflib.get_close_matches(word, valid, n=1)
    if close:
        return "; did you mean %s?" % close[0]
    return "; there are %s" % ", ".join(sorted(valid)) if valid else "; correct the name"


@contextlib.contextmanager
def alone():
    """Wait for another one that makes the environment: two at once would each clear what the other
    makes.
    """
    try:
        lock = open(os.path.join(HERE, ".venv.lock"), "w")  # noqa: SIM115 - closed below
    except OSError:  # a project that cannot be written has its environment, or a sentence
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def whole():
    """Whether the environment runs, where it was made, with all that was in it then."""
    places = read(os.path.join(VENV, CONTENTS))
    if places is None:  # made before this was written down
        return True
    made_at, *names = places.splitlines()
    try:
        run = subprocess.run([os.path.join(BIN, "python"), "-c", ""], env={}, capture_output=True)
    except OSError:
        return False
    # programs name the place of their Python, so a moved environment is another one
    return run.returncode == 0 and made_at == os.path.realpath(VENV) and set(names) <= contents()


def contents():
    """The programs and the packages of the environment."""
    packages = glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", "*"))
    programs = glob.glob(os.path.join(BIN, "*"))
    return {
        os.path.relpath(path, VENV) for path in packages + programs if "__pycache__" not in path
    }


def name_caches():
    """Where the home cannot be written, as in some containers, caches go into the project."""
    home = os.path.expanduser("~")
    for name, usual in (("XDG_CACHE_HOME", ".cache"), ("XDG_CONFIG_HOME", ".config")):
        place = os.path.join(home, usual)
        place = place if os.path.exists(place) else home
        if not (os.path.isdir(place) and os.access(place, os.W_OK)):
            ours = os.path.join(HERE, ".snakemake", usual.lstrip("."))
            if os.environ.setdefault(name, ours) == ours and os.access(HERE, os.W_OK):
                os.makedirs(ours, exist_ok=True)


def make(wanted):
    """Make .venv anew. The stamp comes last, so that an interrupted attempt is made again."""
    try:
        import ensurepip  # noqa: F401 - Debian has it in a package of its own
    except ImportError:
        sys.exit(
            "This Python has no pip to begin with; on Debian and Ubuntu first: apt-get install "
            "python3-venv"
        )
    if not os.access(HERE, os.W_OK):
        sys.exit(
            "%s cannot be written, and .venv is made there; make it writable, or copy the project"
            % HERE
        )
    print(
        "Making the environment in .venv (about half a minute, 7 GB on disk) ...",
        file=sys.stderr,
        flush=True,
    )
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        # pip brings uv, checked against the same lock; uv does the rest in a tenth of pip's time
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as uv_alone:
            uv_alone.write(requirement("uv"))
            uv_alone.flush()
            pip = [
                os.path.join(BIN, "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]
            subprocess.run([*pip, "--require-hashes", "-r", uv_alone.name], check=True)
        uv = [os.path.join(BIN, "uv"), "pip", "sync", "--quiet", "--require-hashes"]
        if (
            sys.dont_write_bytecode
        ):  # then each start would compile all that it imports: three seconds of snakemake's
            uv.append("--compile-bytecode")
        subprocess.run([*uv, "--python", os.path.join(BIN, "python"), LOCK], check=True)
        install_ours()
    except subprocess.CalledProcessError as error:
        sys.exit(
            "The environment could not be made (see above; it needs the package index); the same "
            "command tries again. Failed: %s" % " ".join(error.cmd[:4])
        )
    with open(os.path.join(VENV, CONTENTS), "w") as places:
        places.write("\n".join([os.path.realpath(VENV), *sorted(contents())]))
    with open(STAMP, "w") as stamp:
        stamp.write(wanted)


def install_ours():
    """Put the command `gradflow` into the environment, and src/ on its path, where Snakemake looks
    for its plugins.
    """
    command = os.path.join(BIN, "gradflow")
    # by sh, as pip does it: the path of an interpreter after #! can hold no spaces
    python = shlex.quote(os.path.join(BIN, "python"))
    source = os.path.join(HERE, "src")
    write(
        command,
        "#!/bin/sh\n'''exec' %s \"$0\" \"$@\"\n' '''\nimport sys\n" % python
        + "sys.path.insert(0, %r)\n%s\n" % (source, LAUNCH),
        0o755,
    )
    for packages in glob.glob(os.path.join(VENV, "lib", "python*", "site-packages")):
        write(os.path.join(packages, "gradflow.pth"), source + "\n", 0o644)


def write(path, text, mode):
    """Write a file, unless it holds the text already: an environment may be shared, or
    read-only.
    """
    if read(path) != text:
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)


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

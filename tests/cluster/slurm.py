#!/usr/bin/env python3
"""A real SLURM on this machine alone, for the tests: two nodes on loopback, each with two GPUs that
are only counted.

    python tests/cluster/slurm.py start      # as root, with Debian's slurm-wlm and munge installed
    python tests/cluster/slurm.py stop

It takes /etc/slurm, because a job's own `srun` reads no other place: Snakemake's executor drops
SLURM_CONF from the environment of its job steps. A slurm.conf that is not from here is left alone,
and `start` refuses. The daemons listen on 127.0.0.1 and are stopped by their pid files.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HOME = Path("/run/gradflow-slurm")  # state, logs, pid files and the GPUs that are none
CONFIG = Path("/etc/slurm")
MUNGE_KEY = Path("/etc/munge/munge.key")
OURS = "# Made by tests/cluster/slurm.py of gradflow for its tests.\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
NODES = {"n1": 17003, "n2": 17004}
GPUS = 2  # a node
MEGABYTES = 16_000  # a node, in the books alone: nothing enforces it
DAEMONS = ("slurmd-n1", "slurmd-n2", "slurmctld", "munged")  # in the order in which they stop


def missing() -> str | None:
    """Why there can be no SLURM here, or None."""
    absent = [name for name in PROGRAMS if find(name) is None]
    if absent:
        return f"no {absent[0]} here; on Debian: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "the daemons are started as root"
    configuration = CONFIG / "slurm.conf"
    if configuration.exists() and not configuration.read_text().startswith(OURS):
        return f"{configuration} belongs to another SLURM, which is left alone"
    return None


def find(name: str) -> str | None:
    """The path of a program; daemons often stand outside a person's path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def start() -> None:
    """Start munge and SLURM, and wait until both nodes are idle."""
    if reason := missing():
        sys.exit(f"SLURM was not started: {reason}.")
    if is_up():
        print("SLURM is up already")
        return
    stop()
    HOME.mkdir(mode=0o755)
    for node in NODES:
        (HOME / f"spool-{node}").mkdir()
        for gpu in range(GPUS):
            # a GPU wants a device file: a null device of its own
            os.mknod(gpu_file(node, gpu), 0o666 | 0o020000, os.makedev(1, 3))
    (HOME / "state").mkdir()
    CONFIG.mkdir(exist_ok=True)
    for name, text in configuration().items():
        (CONFIG / name).write_text(text)
    start_munge()
    for name, command in {
        "slurmctld": ["slurmctld"],
        "slurmd-n1": ["slurmd", "-N", "n1"],
        "slurmd-n2": ["slurmd", "-N", "n2"],
    }.items():
        run(name, command)
    deadline = time.monotonic() + 60
    while not is_up():
        if time.monotonic() > deadline:
            found = subprocess.run(
                ["sinfo", "-N", "--long"], capture_output=True, text=True, check=False
            )
            sys.exit(
                "The nodes did not come up within a minute; logs are in "
                f"{HOME}.\n{found.stdout}{found.stderr}"
            )
        time.sleep(0.5)
    print(f"SLURM is up: nodes {', '.join(NODES)}; logs in {HOME}")


def start_munge() -> None:
    """Start munged as its user, with a key of this machine's own."""
    if not MUNGE_KEY.exists():
        MUNGE_KEY.write_bytes(secrets.token_bytes(128))
    MUNGE_KEY.chmod(0o400)
    for folder in (
        MUNGE_KEY.parent,
        MUNGE_KEY,
        Path("/run/munge"),
        Path("/var/log/munge"),
        Path("/var/lib/munge"),
    ):
        if folder != MUNGE_KEY:
            folder.mkdir(exist_ok=True)
        shutil.chown(folder, "munge", "munge")
    Path("/run/munge").chmod(0o755)
    run("munged", ["munged"], user="munge")


def run(name: str, command: list[str], user: str | None = None) -> None:
    """Start a daemon, which goes into the background by itself."""
    program = find(command[0])
    assert program is not None
    environment = {
        **os.environ,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }  # a job's own comes with the job
    done = subprocess.run(
        [program, *command[1:]], user=user, group=user, extra_groups=[] if user else None,
        env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{name} did not start: {done.stdout}{done.stderr}")


def is_up() -> bool:
    """Whether both nodes take jobs."""
    try:
        found = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N %t"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    states = dict(line.split() for line in found.stdout.splitlines())
    return found.returncode == 0 and all(
        states.get(node) in ("idle", "mix", "alloc") for node in NODES
    )


def stop() -> None:
    """Cancel what runs, stop the daemons by their pid files, and remove what `start` made."""
    if is_up():
        subprocess.run(["scancel", "--user", str(os.geteuid())], timeout=60, check=False)
        time.sleep(1)
    for name in DAEMONS:
        path = pid_file(name)
        try:
            process = int(path.read_text())
        except (OSError, ValueError):
            continue
        end(process, name.partition("-")[0])
    for name in configuration():
        path = CONFIG / name
        if path.exists() and path.read_text().startswith(OURS):
            path.unlink()
    shutil.rmtree(HOME, ignore_errors=True)


def end(process: int, program: str) -> None:
    """SIGTERM to a daemon, if the process is still that one; SIGKILL when it does not go in twenty
    seconds.
    """

    def lives() -> bool:
        try:
            return Path(f"/proc/{process}/comm").read_text().strip() == program
        except OSError:
            return False

    if not lives():
        return
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while lives() and time.monotonic() < deadline:
        time.sleep(0.1)
    if lives():
        os.kill(process, signal.SIGKILL)


def pid_file(name: str) -> Path:
    """Where a daemon notes its process."""
    return Path("/run/munge/munged.pid") if name == "munged" else HOME / f"{name}.pid"


def gpu_file(node: str, gpu: int) -> Path:
    """The device file of a GPU."""
    return HOME / f"gpu-{node}-{gpu}"


def configuration() -> dict[str, str]:
    """The files of /etc/slurm."""
    host, cores = socket.gethostname().split(".")[0], os.cpu_count() or 1
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores}"
        f" RealMemory={MEGABYTES} Gres=gpu:{GPUS} State=UNKNOWN"
        for node, port in NODES.items()
    )
    slurm = f"""\
ClusterName=gradflow
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17002
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
# a requeued job waits for so long, and a second
AuthInfo=cred_expire=10
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=30
AccountingStorageType=accounting_storage/none
# nodes may say that they have more than the machine has: both stand on it
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
MaxJobCount=20000
MinJobAge=300
# seconds between SIGTERM and SIGKILL
KillWait=30
SchedulerParameters=sched_interval=2,batch_sched_delay=0
StateSaveLocation={HOME}/state
SlurmdSpoolDir={HOME}/spool-%n
SlurmctldPidFile={HOME}/slurmctld.pid
SlurmdPidFile={HOME}/slurmd-%n.pid
SlurmctldLogFile={HOME}/slurmctld.log
SlurmdLogFile={HOME}/slurmd-%n.log
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    files = "\n".join(
        f"NodeName={node} Name=gpu File={gpu_file(node, gpu)}"
        for node in NODES
        for gpu in range(GPUS)
    )
    return {
        "slurm.conf": OURS + slurm,
        "gres.conf": f"{OURS}{files}\n",
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start"]:
            start()
        case ["stop"]:
            stop()
        case _:
            sys.exit(__doc__)

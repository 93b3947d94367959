"""How long the status of a scale with 10,000 run logs takes.

Run by hand: `python tests/benchmark_status.py [--runs N] [--keep FOLDER]`. The logs are those of
benchmark_collect.py; writing them is not counted. Every second job that is not finished has a log
that tells a failure. Target: at most 5 s.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark_collect import ROOT, SCALE, write_logs

from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid

TARGET_SECONDS = 5


def main() -> int:
    """Write, ask, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument(
        "--keep", type=Path, help="a folder for the logs; by default one that is removed"
    )
    arguments = parser.parse_args()
    grid = Grid(read_config(ROOT / "config.yaml"))
    plans = [grid.plan(SCALE, study) for study in grid.config.scales[SCALE].studies]
    with tempfile.TemporaryDirectory() as temporary:
        results = (arguments.keep or Path(temporary)) / "results"
        count = write_logs(plans, results, arguments.runs)
        unfinished = [
            job
            for job in grid.jobs(SCALE).values()
            if not all((results / job.log_path(run)).exists() for run in job.runs)
        ]
        for job in unfinished[::2]:
            log = results / SCALE / "logs" / f"{job.key}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("out of memory\n")
        print(f"{count:,} logs, {len(unfinished[::2]):,} failed jobs", flush=True)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "status.py", SCALE, "--results", results],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout[done.stdout.index("runs by study") :])
    met = seconds <= TARGET_SECONDS
    cpu = used.ru_utime + used.ru_stime  # says more where others use the cores too
    print(f"{seconds:.2f} s, {cpu:.2f} s of CPU: {'within' if met else 'beyond'} the target")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""How long collecting 10,000 run logs and comparing them with the paper takes, and how much memory.

Run by hand: `python tests/benchmark_collect.py [--runs N] [--cores N] [--keep FOLDER]`. The logs
are synthetic, with all the columns and probe epochs of real ones; writing them is not counted. Jobs
run on the cores as the workflow runs
them: first all that collect, then the tables. Target: at most 30 s and 2 GiB on two cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src")]

from gradflow.study.config_checks import load_config  # noqa: E402
from gradflow.study.grid import Grid  # noqa: E402
from gradflow.study.job import PROBES, Job, Run, dense_width  # noqa: E402
from gradflow.study.kinds import KINDS  # noqa: E402
from gradflow.study.plan import Plan  # noqa: E402
from gradflow.training.run_log import MEASURES, SCHEMA  # noqa: E402

SCALE = "paper"
ARTIFACTS = ("comparison_p_values", "comparison_correlations", "comparison_means", "agreement",
             "effects", "table1",
             "table6a")  # fmt: skip
TARGET_SECONDS, TARGET_BYTES = 30, 2 * 2**30


def write_logs(plans: list[Plan], results: Path, limit: int) -> int:
    """Write a log for each run of the plans that has none, up to `limit` in all; how many there
    are.
    """
    generator = np.random.default_rng(0)
    written: set[str] = set()
    for plan in plans:
        for job, run in plan.runs():
            path = results / job.log_path(run)
            if len(written) == limit:
                return limit
            if str(path) not in written:
                written.add(str(path))
                if path.exists():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                # what write_log does, without its fsync and renaming
                schema = SCHEMA.with_metadata({"spec": job.only(run).to_json()})
                pq.write_table(
                    log(job, run, generator).cast(schema),
                    path,
                    compression="zstd",
                    write_page_checksum=True,
                )
    return len(written)


def log(job: Job, run: Run, generator: np.random.Generator) -> pa.Table:
    """A made-up log of 11 probe epochs; flow and accuracy follow the width, as in real ones."""
    configuration, mlp = job.configuration, job.configuration.model == "mlp"
    layers = configuration.depth + 1 if mlp else 29
    noise = generator.normal(size=(PROBES, 40))
    values: dict[str, object] = {
        "scale": job.scale, "variant": job.variant, "dataset": configuration.dataset,
        "configuration": configuration.name, "model": configuration.model,
        "hidden_layers": configuration.depth if mlp else None,
        "depth": None if mlp else configuration.depth,
        "widen_factor": None if mlp else configuration.widen_factor,
        "activation": configuration.activation,
        "optimizer": configuration.optimizer, "learning_rate": configuration.learning_rate,
        "regularization": configuration.regularization, "l2": 0.0001, "batch_size": 128,
        "initialisation": job.settings.initialisation, "architecture": run.architecture,
        "dense_width": dense_width(job.max_width, run.percent) if mlp else None,
        "max_width": job.max_width if mlp else None, "width_percent": run.percent if mlp else None,
        "density_percent": None if mlp else run.percent, "seed": job.seed, "epochs": job.epochs,
        "trainable_parameters": 10**6, "diverged": False, "collapsed": False,
    }  # fmt: skip
    columns: dict[str, list[object]] = {name: [value] * PROBES for name, value in values.items()}
    columns["epoch"] = [max(0, (job.epochs * probe) // 10 - 1) for probe in range(PROBES)]
    columns["step"] = [391 * (int(str(epoch)) + 1) for epoch in columns["epoch"]]
    for place, column in enumerate(SCHEMA):
        if column.name not in columns:
            if pa.types.is_list(column.type):
                columns[column.name] = [
                    [place + layer for layer in range(layers)] for _ in range(PROBES)
                ]
            else:
                trend = (
                    run.percent / 50
                    if column.name.endswith(MEASURES) or "test" in column.name
                    else 1.0
                )
                columns[column.name] = list(10 + 3 * trend + noise[:, place % 40])
    return pa.table({column.name: pa.array(columns[column.name], column.type) for column in SCHEMA})


def timed(name: str, *command: str) -> None:
    """Run a script and print its seconds."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *command], check=True, cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    print(f"{name:<45}{time.perf_counter() - start:7.2f} s", flush=True)


def timed_together(name: str, commands: list[tuple[str, ...]], cores: int) -> float:
    """Run scripts on some cores; print and return the seconds from the first start to the last
    end.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda command: timed(*command), commands))
    seconds = time.perf_counter() - start
    print(f"{name:<45}{seconds:7.2f} s on {cores} cores", flush=True)
    return seconds


def main() -> int:
    """Write, collect, compare, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument(
        "--keep", type=Path, help="a folder for the logs; by default one that is removed"
    )
    arguments = parser.parse_args()
    grid = Grid(load_config(yaml.safe_load((ROOT / "config.yaml").read_text())))
    artifacts = [name for name in ARTIFACTS if name in grid.artifacts(SCALE)]
    compared = list(
        dict.fromkeys(study for name in artifacts for study in grid.studies(SCALE, name))
    )
    others = [study for study in grid.config.scales[SCALE].studies if study not in compared]
    plans = [grid.plan(SCALE, study) for study in [*compared, *others]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        start = time.perf_counter()
        count = write_logs(plans, folder, arguments.runs)
        print(
            f"{f'writing {count} logs (not counted)':<45}{time.perf_counter() - start:7.2f} s",
            flush=True,
        )
        studies, tables = folder / SCALE / "studies", folder / SCALE / "tables"
        collecting = [
            (
                "collect_runs "
                f"{plan.study}", "scripts/collect_runs.py", "--plan", plan.to_json(), "--results",
             str(folder), "--output", str(studies / f"{plan.study}.parquet"), "--provenance",
             str(folder / SCALE / "provenance" / f"{plan.study}.parquet"), "--partial")
            for plan in plans
        ]  # fmt: skip
        comparing = []
        for name in artifacts:
            runs = [str(studies / f"{study}.parquet") for study in grid.studies(SCALE, name)]
            outputs = [
                "--files",
                *(str(tables / f"{name}.{end}") for end in ("csv", "html", "tex")),
            ]
            maker = KINDS[grid.config.artifacts[name].kind].maker
            entry = ["--artifact", grid.artifact_json(SCALE, name)]
            comparing.append((name, "scripts/draw.py", maker, *entry, "--runs", *runs, *outputs))
        seconds = timed_together("collecting", collecting, arguments.cores)
        seconds += timed_together("tables and comparison", comparing, arguments.cores)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{'CPU time':<45}{used.ru_utime + used.ru_stime:7.2f} s"
    )  # says more where others use the cores too
    peak = used.ru_maxrss * 1024
    # of a process; at any time there are as many as cores
    met = seconds <= TARGET_SECONDS and peak * arguments.cores <= TARGET_BYTES
    print(
        f"{'all':<45}{seconds:7.2f} s, {peak / 2**20:.0f} MiB a process: "
        f"{'within' if met else 'beyond'} the target"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

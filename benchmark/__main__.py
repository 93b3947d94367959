"""Time the engine beside two plain loops, in one run on this machine's device, and compare with the
hardware's floor.

The plain loop is a DataLoader over PIL images with torchvision's transforms, one network and
torch.optim; the second has its data on the device. Prints a table and verdicts; writes a table
(Parquet) and a figure. GRADFLOW_DEVICE chooses the device. Without a network's data set
(results/data) its inputs are random. docs/performance.md explains the columns.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from benchmark.cases import NETWORKS, PRECISIONS, REGULARIZATIONS, STACKS, make_cases  # noqa: E402
from benchmark.measurement import Measurement  # noqa: E402
from gradflow.data.sources import DataError  # noqa: E402
from gradflow.study.config import ConfigError  # noqa: E402
from gradflow.study.config_checks import load_config  # noqa: E402
from gradflow.study.job import PAPER_OPTIMIZERS  # noqa: E402


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choose: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument(
        "--networks", **choose, choices=NETWORKS, help=f"of {', '.join(NETWORKS)} (default: all)"
    )
    parser.add_argument(
        "--optimizers",
        **choose,
        choices=PAPER_OPTIMIZERS,
        default=["sgd", "adam"],
        help="default: sgd adam",
    )
    parser.add_argument(
        "--regularizations",
        **choose,
        choices=REGULARIZATIONS,
        default=REGULARIZATIONS,
        help="default: NR BN DA DA_BN",
    )
    parser.add_argument(
        "--stacks", nargs="+", type=int, metavar="K", choices=STACKS, default=list(STACKS),
        help="networks trained together; 10 is a whole job (default: 1 2 5 10 15)",
    )  # fmt: skip
    parser.add_argument(
        "--precisions", **choose, choices=PRECISIONS, help="default: float32, and on a GPU tf32"
    )
    parser.add_argument(
        "--seconds", type=float, default=150.0, help="for everything, roughly (default: 150)"
    )
    parser.add_argument(
        "--workers", type=int, help="of the DataLoader (default: 0 on a CPU, 4 on a GPU)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("results/data"), help="data sets (default: results/data)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmark/benchmark"), metavar="PATH",
        help="of the files, without .parquet, .pdf, .png (default: results/benchmark/benchmark)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    """Measure and report; 1 and one sentence when something is wrong."""
    arguments = parse()
    try:
        if arguments.seconds <= 0:
            raise ValueError(f"--seconds is {arguments.seconds:g}; it must be more than 0")
        if arguments.workers is not None and arguments.workers < 0:
            raise ValueError(f"--workers is {arguments.workers}; it must be 0 or more")
        measure(arguments)
    except (ConfigError, DataError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure(arguments: argparse.Namespace) -> None:
    """Print and write; imports come after the arguments are known to be right, since they take
    seconds.
    """
    from benchmark.measure import Bench
    from benchmark.report import (
        case_lines,
        figure_of_benchmark,
        machine_lines,
        table,
        verdict_lines,
        write_table,
    )
    from gradflow.analysis.figures import save_figure
    from gradflow.training.devices import choose_device

    device = choose_device()
    cuda = device.type == "cuda"
    precisions = arguments.precisions or ["float32", *(["tf32"] if cuda else [])]
    if "tf32" in precisions and not cuda:
        raise ValueError(
            "--precisions tf32 needs a CUDA device; there is none here, so take float32"
        )
    workers = arguments.workers if arguments.workers is not None else (4 if cuda else 0)
    config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
    networks = arguments.networks or list(NETWORKS)
    cases = make_cases(
        config, networks, precisions, arguments.optimizers, arguments.regularizations
    )
    parquet, pdf, png = (
        arguments.output.with_name(f"{arguments.output.name}.{ending}")
        for ending in ("parquet", "pdf", "png")
    )
    bench = Bench(device, arguments.data, arguments.stacks, arguments.seconds, workers)
    rows: list[Measurement] = []
    for case, measured in zip(cases, bench.run(cases), strict=True):
        if not rows:
            print("\n".join(machine_lines(measured)), end="\n\n")
        print("\n".join(case_lines(case.title, measured)), flush=True)
        rows += measured
        # anew after each case: what an interruption leaves is whole, and says what was measured
        write_table(table(rows), parquet)
    save_figure(figure_of_benchmark(table(rows)), pdf, png)
    print("\n".join(verdict_lines(rows)))


if __name__ == "__main__":
    sys.exit(main())

"""A training step of an H100, counted: its operations on tensors without data, and what each moves
and computes.

No GPU is asked, and nothing is measured. `python -m benchmark.counted` prints the table of
docs/performance.md, and with --write puts it there. An operation reads each input and writes each
output once; it takes whichever is longer, moving or computing, at the peak of the data sheet. So
does the floor (`roofline.step_floor`, that of a GPU), of the step as a whole. Caches, launches and
kernels that stay below the peaks are left out, so a step takes at least this long.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from benchmark.roofline import step_floor  # noqa: E402
from gradflow.networks.build import Group  # noqa: E402
from gradflow.networks.mlp import StackedMLP  # noqa: E402
from gradflow.networks.wide_resnet import WideResNet  # noqa: E402
from gradflow.study.config_checks import load_config  # noqa: E402
from gradflow.study.job import PAPER_OPTIMIZERS, Job, Regularization  # noqa: E402
from gradflow.study.labels import label  # noqa: E402
from gradflow.study.resolve import plan_study  # noqa: E402
from gradflow.study.shapes import mlp_layer_shapes, wide_resnet_layers  # noqa: E402
from gradflow.study.sizes import shape_of  # noqa: E402
from gradflow.study.work import Rates, stacks_of  # noqa: E402
from gradflow.training.stack import Stack, make_stack  # noqa: E402
from gradflow.training.step import train_step  # noqa: E402

META = torch.device("meta")
# of an H100 SXM5, by NVIDIA's data sheet, tensor cores without sparsity; tf32x3 is three TF32
# products. Neither what kernels are assumed to reach nor what was counted has a part in them
PEAK = Rates(
    bandwidth=3.352e12,
    flops={"float32": 66.9e12, "tf32": 494.7e12, "tf32x3": 494.7e12 / 3, "bf16": 989.4e12},
    launch=0.0,
    overlaps=True,
)
NETWORKS = {
    "Fashion-MNIST": ("paper", "fashion_mnist_low"),
    "CIFAR-100": ("paper", "cifar100_low"),
    "Wide ResNet": ("paper", "wide_resnet_cifar100"),
}
# BatchNorm alone, which moves the most beside products, and all that the paper has at once
WITH_NORM: tuple[Regularization, ...] = ("BN", "DA_L2_SC_BN")
# that reorder nothing in memory, though their schema names no alias; and those that write no value
FREE = {"_unsafe_view", "lift_fresh", "alias", "empty", "empty_like", "new_empty", "empty_strided"}
WRITE_ONLY = {"copy_", "zero_", "fill_", "rectified_back_"}  # of what they change
GATHERS = {"index", "index_select"}  # read as much as they write, of a source of any size
# read twice: statistics first, then the values
TWICE = {
    "native_batch_norm": ("input",),
    "_native_batch_norm_legit": ("input",),
    "_native_batch_norm_legit_no_training": (),
    "native_batch_norm_backward": ("grad_out", "input"),
    "rectified_back_": ("gradient", "x"),
}


@dataclass
class Count:
    """What a step moves and computes."""

    moved: float = 0.0  # bytes
    flops: float = 0.0
    seconds: float = 0.0  # of each operation whichever is longer
    operations: int = 0


class Counter(TorchDispatchMode):
    """Counts the operations in its block at a rate of products (operations a second)."""

    def __init__(self, rate: float):
        super().__init__()  # type: ignore[no-untyped-call]
        self.rate = rate
        self.count = Count()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        fused = func.overloadpacket.__name__.startswith("_fused_")  # torch has none without values
        out: Any = None if fused else func(*args, **kwargs)
        if func.overloadpacket.__name__ == "convolution_backward":  # lies otherwise without values
            out = tuple(
                of if of is None else torch.empty_like(like)
                for of, like in zip(out, (*args[1:3], None), strict=True)
            )
        moved = bytes_moved(func, args, kwargs, out)
        flops = operations_of(func, args, kwargs, out)
        self.count.moved += moved
        self.count.flops += flops
        self.count.seconds += max(moved / PEAK.bandwidth, flops / self.rate)
        self.count.operations += bool(moved or flops)
        return out


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor in memory: an axis that repeats (stride 0) counts once."""
    places = math.prod(
        n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step or n == 0
    )
    return places * tensor.element_size()


def bytes_moved(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """Read and written by one operation."""
    name, schema = func.overloadpacket.__name__, func._schema
    returned = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
    aliases = [r.alias_info for r in schema.returns]
    if name in FREE or (aliases and all(a is not None and not a.is_write for a in aliases)):
        return 0  # a view
    moved = 0
    for index, argument in enumerate(schema.arguments):
        value = kwargs.get(argument.name, args[index] if index < len(args) else None)
        tensors = [t for t in tree_leaves(value) if isinstance(t, Tensor)]
        size = sum(size_of(t) for t in tensors)
        changed = argument.alias_info is not None and argument.alias_info.is_write
        if name in GATHERS and argument.name == "self":
            size = sum(size_of(t) for t in returned)
        if argument.name in TWICE.get(name, ()):
            size *= 2
        # torch's fused optimizers may rescale gradients, and do not here
        if changed and argument.name != "grads":
            size *= 1 if name in WRITE_ONLY or argument.name == "out" else 2
        moved += size
    fresh = [r.alias_info is None for r in schema.returns]
    if any(fresh):
        moved += sum(size_of(t) for t in returned)
    if name == "convolution_backward":  # two products: both read the upstream gradient
        moved += size_of(args[0])
    return moved


def operations_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int:
    """Multiplications and additions of a product."""
    name = func.overloadpacket.__name__
    if name == "update_by_product_":
        x, g = args[:2]
        return 2 * x.numel() * g.shape[2]
    if name == "product_":
        return 2 * args[0].numel() * args[1].shape[2]
    if func.overloadpacket in flop_registry:
        return int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out))
    return 0


# --- steps ----------------------------------------------------------------------------------------


def empty_groups(job: Job) -> Iterator[Group]:
    """What `build_networks` yields, without a value drawn."""
    shape, configuration = shape_of(job), job.configuration
    runs = list(job.runs)
    for stack in stacks_of(job):
        own = tuple(runs[: stack.networks])
        del runs[: stack.networks]
        with META:
            if configuration.model == "mlp":
                shapes = mlp_layer_shapes(
                    shape.inputs, stack.layers[0].outputs, configuration.depth, shape.classes
                )
                weights = [torch.empty(len(own), *s) for s in shapes]
                network: Any = StackedMLP(configuration, job.settings, weights)
            else:
                layers = wide_resnet_layers(
                    configuration.depth, configuration.widen_factor, shape.channels, shape.classes
                )
                weights = [torch.empty(1, *layer.shape) for layer in layers]
                network = WideResNet(configuration, job.settings, layers, weights)
        masks = [torch.empty(w.shape, dtype=torch.bool, device=META) for w in weights]
        yield own, network, masks if stack.masked else None


def empty_stacks(job: Job, fused: bool) -> list[Stack]:
    """A job's stacks as on a GPU, without a value."""
    stacks = [make_stack(job, group, META, torch.float32) for group in empty_groups(job)]
    for stack in stacks:
        stack.fused = fused
    return stacks


def count_step(job: Job, fused: bool = True) -> Count:
    """A step of all networks of a job that measures nothing, on a full minibatch at hand as
    bytes.
    """
    shape, settings = shape_of(job), job.settings
    stacks = empty_stacks(job, fused)
    counter = Counter(PEAK.flops[settings.precision])
    columns, batch = len(job.percents), settings.batch_size
    images = (columns, batch, shape.channels, shape.height, shape.width)
    pixels = torch.empty(images, dtype=torch.uint8, device=META)
    labels = torch.empty(columns, batch, dtype=torch.int64, device=META)
    mean = torch.empty(shape.channels, 1, 1, device=META)
    with counter:
        drawn = (pixels.to(torch.float32) - mean) / mean
        for stack in stacks:
            train_step(
                stack,
                drawn[stack.picks],
                labels[stack.picks],
                0.1,
                precision=settings.precision,
                probing=False,
            )
    return counter.count


@dataclass(frozen=True)
class Cell:
    """One network, optimizer, precision and stack."""

    network: str
    optimizer: str
    precision: str
    stack: str  # see `stack_name`
    fused: bool
    megabytes: float  # a net-step
    us: float  # a net-step
    floor_us: float  # a net-step

    @property
    def over(self) -> float:
        """The floor's multiple."""
        return self.us / self.floor_us


def stack_name(job: Job) -> str:
    """How many networks of an MLP's job step together, and which regularization they have, if
    any.
    """
    configuration = job.configuration
    if configuration.model == "wide_resnet":
        return ""
    sparse = " sparse" if job.architectures == ("sparse",) else ""
    has = configuration.regularization
    return f"K={len(job.runs)}{sparse}" + (
        "" if has == "NR" else f", {label('regularization', has)}"
    )


def cell(network: str, template: Job, optimizer: str, precision: Any, fused: bool = True) -> Cell:
    """Count a job with another optimizer and precision."""
    job = dataclasses.replace(
        template,
        configuration=dataclasses.replace(template.configuration, optimizer=optimizer),
        settings=dataclasses.replace(template.settings, precision=precision),
    )
    count, runs = count_step(job, fused), len(job.runs)
    floor = step_floor(job, "cuda").computing(PEAK, precision)
    return Cell(
        network,
        optimizer,
        precision,
        stack_name(job),
        fused,
        count.moved / 1e6 / runs,
        1e6 * count.seconds / runs,
        1e6 * floor / runs,
    )


def templates() -> Iterator[tuple[str, Job]]:
    """A job of each network: K=10, K=5 sparse and K=10 with BatchNorm, data augmentation, L2 and
    skips; a Wide ResNet.
    """
    config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
    for network, (scale, study) in NETWORKS.items():
        jobs = plan_study(config, scale, study).jobs()
        job = next(j for j in jobs if "magnitude" not in j.architectures)
        yield network, job
        if job.configuration.model == "mlp":
            yield network, dataclasses.replace(job, architectures=("sparse",))
            for regularization in WITH_NORM:
                configuration = dataclasses.replace(
                    job.configuration, regularization=regularization
                )
                yield network, dataclasses.replace(job, configuration=configuration)


def all_cells() -> Iterator[Cell]:
    """Every cell of the tables."""
    for network, job in templates():
        for precision in ("float32", "tf32", "tf32x3"):
            if precision == "tf32x3" and job.configuration.model == "wide_resnet":
                continue  # of MLPs alone
            for optimizer in PAPER_OPTIMIZERS:
                yield cell(network, job, optimizer, precision)


def tables(cells: Sequence[Cell]) -> str:
    """As Markdown: microseconds a net-step, megabytes, and the multiple of the floor."""
    lines = [
        "| | precision | " + " | ".join(PAPER_OPTIMIZERS) + " |",
        "|---|---|" + "---|" * len(PAPER_OPTIMIZERS),
    ]
    for key in dict.fromkeys((c.network, c.stack, c.precision) for c in cells):
        own = {c.optimizer: c for c in cells if (c.network, c.stack, c.precision) == key}
        network, stack, precision = key
        name = f"{network}, {stack}" if stack else network
        row = [f"{_short(c.us)} ({_short(c.megabytes)} MB, {c.over:.2f})" for c in own.values()]
        lines.append(f"| {name} | {precision} | {' | '.join(row)} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}"


def rewrite(page: str, table: str) -> str:
    """The page with the table between its two marks."""
    before, rest = page.split("<!-- counted -->")
    after = rest.split("<!-- /counted -->")[1]
    return f"{before}<!-- counted -->\n{table}\n<!-- /counted -->{after}"


def main() -> None:
    """Print the table, or with --write put it into docs/performance.md."""
    table, page = tables(list(all_cells())), ROOT / "docs" / "performance.md"
    if "--write" in sys.argv[1:]:
        page.write_text(rewrite(page.read_text(), table))
    else:
        print(table)


if __name__ == "__main__":
    main()

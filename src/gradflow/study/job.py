"""What is trained: configuration, settings, job and run, and their identity as canonical JSON.

Free of torch, pandas and pydantic, because Snakemake imports it at every start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from gradflow.study import own

# Part of every run's identity. Raise it when a change of code changes a run's numbers: everything
# is retrained then, and tests/training/test_golden.py holds the numbers of the current version.
ENGINE_VERSION = 1

PROBES = 11  # section 3.1: gradient flow is measured at the end of 11 epochs, evenly spread

SUPERSEDED = "superseded"  # the folder of a scale for runs that made room for others

# The library's; a file of the folder `own` adds one (`gradflow.study.own`).
PAPER_DATASETS = ("digits", "fashion_mnist", "cifar10", "cifar100")
PAPER_OPTIMIZERS = ("sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw")
PAPER_ACTIVATIONS = ("relu", "prelu", "elu", "swish", "srelu", "sigmoid")
LIBRARY_ACTIVATIONS = (*PAPER_ACTIVATIONS, "gelu", "mish", "leaky_relu")
LIBRARY_MASK_UPDATES = ("fixed", "set", "rigl")
LIBRARY_INITIAL_MASKS = tuple(
    sorted(
        path.stem
        for path in (Path(__file__).parents[1] / "networks" / "initial_masks").glob("*.py")
        if path.stem != "__init__"
    )
)
DATASETS: tuple[str, ...] = (*PAPER_DATASETS, *own.names("datasets"))
OPTIMIZERS: tuple[str, ...] = (*PAPER_OPTIMIZERS, *own.names("optimizers"))
MASK_UPDATES: tuple[str, ...] = (*LIBRARY_MASK_UPDATES, *own.names("mask_updates"))
INITIAL_MASKS: tuple[str, ...] = (*LIBRARY_INITIAL_MASKS, *own.names("initial_masks"))
ACTIVATIONS: tuple[str, ...] = (*LIBRARY_ACTIVATIONS, *own.names("activations"))

if TYPE_CHECKING:
    Dataset: TypeAlias = str
    Optimizer: TypeAlias = str
    Activation: TypeAlias = str
    MaskUpdateName: TypeAlias = str
    InitialMaskName: TypeAlias = str
else:  # what config.yaml is checked against
    Dataset, Optimizer, Activation = Literal[DATASETS], Literal[OPTIMIZERS], Literal[ACTIVATIONS]
    MaskUpdateName = Literal[MASK_UPDATES]
    InitialMaskName = Literal[INITIAL_MASKS]
Model = Literal["mlp", "wide_resnet"]
Architecture = Literal["dense", "sparse", "magnitude"]
Regularization = Literal[
    "NR", "DA", "L2", "SC", "BN", "DA_L2", "DA_SC", "DA_BN", "L2_SC", "L2_BN", "SC_BN",
    "DA_L2_SC", "DA_L2_BN", "DA_SC_BN", "L2_SC_BN", "DA_L2_SC_BN",
    "LN", "DA_LN", "L2_LN", "SC_LN", "DA_L2_LN", "DA_SC_LN", "L2_SC_LN", "DA_L2_SC_LN",
]  # fmt: skip
Initialisation = Literal["shared_dense_fan_in", "shared_max_fan_in", "own_shape", "active_fan_in"]

REGULARIZATIONS: tuple[str, ...] = get_args(Regularization)


@dataclass(frozen=True)
class Configuration:
    """One cell of the paper's tables."""

    dataset: Dataset
    model: Model
    depth: int  # hidden layers of an MLP; total depth (28 in WRN-28-10) of a Wide ResNet
    widen_factor: int  # of a Wide ResNet (10 in WRN-28-10); 0 for an MLP
    activation: Activation
    optimizer: Optimizer
    learning_rate: float
    regularization: Regularization

    @property
    def name(self) -> str:
        """The folder name of its runs, for example `mlp4-relu-adam-lr0.001-DA_SC_BN`."""
        model = (
            f"mlp{self.depth}" if self.model == "mlp" else f"wrn{self.depth}x{self.widen_factor}"
        )
        rate = f"lr{self.learning_rate:g}"
        return f"{model}-{self.activation}-{self.optimizer}-{rate}-{self.regularization}"

    def has(self, method: Literal["DA", "L2", "SC", "BN", "LN"]) -> bool:
        """Whether the regularization includes `method`."""
        return method in self.regularization.split("_")


@dataclass(frozen=True)
class Settings:
    """Every other choice that changes training. The defaults are the variant `paper`; config.yaml
    explains each.
    """

    batch_size: int = 128
    mlp_schedule: Literal["constant", "steps", "cosine"] = "constant"
    warmup_epochs: int = 0
    initialisation: Initialisation = "shared_dense_fan_in"
    init_distribution: Literal["normal", "uniform"] = "normal"
    init_gain: Literal["relu", "linear"] = "relu"
    l2: float = 0.0001
    wide_resnet_l2: float = 0.0005
    l2_scope: Literal["all", "weights"] = "all"
    skip_place: Literal["before_activation", "after_activation"] = "before_activation"
    skip_overlap: bool = False
    batchnorm_place: Literal["before_activation", "after_activation"] = "before_activation"
    prelu_slope: float = 0.25
    srelu_left: tuple[float, float] = (0.0, 0.2)  # threshold t_l, slope a_l
    srelu_right: tuple[float, float] = (1.0, 1.0)  # threshold t_r, slope a_r
    rmsprop_alpha: float = 0.99
    nesterov: bool = False  # of momentum
    label_smoothing: float = 0.0
    l1: float = 0.0  # on the layers' weights
    dropout: float = 0.0  # share of a layer's units; see `networks.dropout`
    gradient_clip: float = 0.0  # largest 2-norm of a network's gradient; 0: any
    probe_images: int = 10_000
    flip: Literal["by_data_set", "never"] = "by_data_set"
    precision: Literal["float32", "tf32", "tf32x3", "bf16", "float64"] = "float32"
    wide_resnet_schedule: Literal["constant", "steps", "cosine"] = "steps"
    wide_resnet_keep_dense: tuple[Literal["stem", "classifier", "shortcuts"], ...] = ()
    finetune_optimizer: Literal["continue", "fresh"] = "continue"
    # a number: a fixed subset, see `data.store.ImageData.subset`
    train_images: int | Literal["all"] = "all"
    # a number: images averaged down to it, see `data.store.ImageData.averaged`
    image_side: int | Literal["original"] = "original"
    max_width: int | Literal["by_data_set"] = "by_data_set"  # `Job.max_width` is what it comes to
    initial_mask: InitialMaskName = "random"  # a file of `networks.initial_masks`
    mask_update: MaskUpdateName = "fixed"  # see `mask_updates`
    mask_update_interval: int = 1  # epochs
    mask_update_fraction: float = 0.3  # of a layer's active weights

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Settings:
        """From what JSON holds of some settings; the others are at their defaults."""
        return cls(**_tuples(plain))


@dataclass(frozen=True)
class Run:
    """One trained network of a job: its architecture and its dense width (MLP) or density (Wide
    ResNet) in percent.
    """

    architecture: Architecture
    percent: int


@dataclass(frozen=True)
class Job:
    """What one training process trains: a cohort, that is each of `architectures` at each of
    `percents`.
    """

    scale: str
    variant: str
    configuration: Configuration
    seed: int
    epochs: int
    architectures: tuple[Architecture, ...]
    percents: tuple[int, ...]
    max_width: int = 0  # of the sparse twins of an MLP; 0 for a Wide ResNet
    crop_padding: int = 4  # pixels on each side before the random crop (DA)
    flip: bool = True  # horizontal (DA)
    settings: Settings = field(default_factory=Settings)
    data: str = ""  # SHA-256 of the data set, where it is known; see `datasets.DatasetShape`
    # the user's own files that it uses (`own_parts`), each with its `own.fingerprint`
    own: tuple[tuple[str, str], ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The cohort's runs, sparse before dense."""
        order = sorted(self.architectures, reverse=True)
        return tuple(
            Run(architecture, percent) for architecture in order for percent in self.percents
        )

    def pretraining(self) -> Job:
        """The dense job whose first half of the epochs every density of a magnitude job shares."""
        return dataclasses.replace(self, architectures=("dense",), percents=(100,))

    @property
    def pretrained_path(self) -> str:
        """Path of the pretrained network's state below the results folder."""
        configuration = self.configuration
        folder = f"{self.variant}/{configuration.dataset}/{configuration.name}"
        return f"{self.scale}/pretrained/{folder}/seed{self.seed}.json"

    def only(self, run: Run) -> Job:
        """The same job for one of its runs alone: the run's own identity."""
        return dataclasses.replace(self, architectures=(run.architecture,), percents=(run.percent,))

    @property
    def key(self) -> str:
        """What tells the jobs of a scale apart, as a path: for a Wide ResNet, whose job is one run,
        that run too.
        """
        configuration = self.configuration
        folder = f"{self.variant}/{configuration.dataset}/{configuration.name}/seed{self.seed}"
        return folder if configuration.model == "mlp" else f"{folder}/{self.run_name(self.runs[0])}"

    def run_name(self, run: Run) -> str:
        """A run's name within its configuration and seed, for example `sparse-w30`."""
        return (
            f"{run.architecture}-{'w' if self.configuration.model == 'mlp' else 'd'}{run.percent}"
        )

    def log_path(self, run: Run) -> str:
        """Path of a run's log below the results folder."""
        folder = (
            f"{self.variant}/{self.configuration.dataset}/{self.configuration.name}/seed{self.seed}"
        )
        return f"{self.scale}/runs/{folder}/{self.run_name(run)}.parquet"

    @property
    def state_path(self) -> str:
        """Path of the job's checkpoint below the results folder."""
        return f"{self.scale}/state/{self.key}.json"

    def to_json(self) -> str:
        """Canonical: sorted keys, settings at their default left out, the engine version inside.

        So is `data` where nobody knows it: a user's own data set, or one in memory. So is `own`
        where a job uses no file of the user's.

        A setting that is added later, with a default, therefore leaves the identity of what is
        trained as it was.
        """
        # no `dataclasses.asdict`: it copies deeply, and Snakemake asks for ten thousands of these
        plain = {**vars(self), "configuration": vars(self.configuration)}
        plain["settings"] = {
            key: value
            for key, value in vars(self.settings).items()
            if value != _defaults(self.settings)[key]
        }
        for name in ("data", "own"):
            if not plain[name]:
                del plain[name]
        return json.dumps(
            {"engine": ENGINE_VERSION, **plain}, sort_keys=True, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text was written for another engine version, or is no job.
        """
        try:
            plain: dict[str, Any] = json.loads(text)
            engine = plain.pop("engine")
            if engine != ENGINE_VERSION:
                raise ValueError(
                    f"the job was made for engine version {engine}, this is version "
                    f"{ENGINE_VERSION}"
                )
            plain["configuration"] = Configuration(**plain["configuration"])
            plain["settings"] = Settings.from_plain(plain["settings"])
            plain["own"] = [tuple(part) for part in plain.get("own", [])]
            return cls(**_tuples(plain))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a job specification: {error}") from error


def superseded_path(path: str, spec: str) -> str:
    """Where a result of a specification lies while another one has its place, below the results
    folder.

    Args:
        path: its own place there; the first part is the scale.
        spec: canonical JSON of the run, or of a pretraining's job.
    """
    scale, _, rest = path.partition("/")
    return f"{scale}/{SUPERSEDED}/{hashlib.sha256(spec.encode()).hexdigest()[:16]}/{rest}"


_DEFAULTS: dict[str, dict[str, Any]] = {}  # by the name of a class of settings


def _defaults(settings: Settings) -> dict[str, Any]:
    kind = type(settings)
    if kind.__qualname__ not in _DEFAULTS:
        _DEFAULTS[kind.__qualname__] = vars(kind())
    return _DEFAULTS[kind.__qualname__]


def own_parts(configuration: Configuration, settings: Settings) -> list[str]:
    """What a job uses of a user's own, as `optimizers/lion`."""
    used = (
        ("activations", configuration.activation, LIBRARY_ACTIVATIONS),
        ("datasets", configuration.dataset, PAPER_DATASETS),
        ("initial_masks", settings.initial_mask, LIBRARY_INITIAL_MASKS),
        ("mask_updates", settings.mask_update, LIBRARY_MASK_UPDATES),
        ("optimizers", configuration.optimizer, PAPER_OPTIMIZERS),
    )
    return [f"{kind}/{name}" for kind, name, library in used if name not in library]


def dense_width(max_width: int, percent: int) -> int:
    """Width of the dense twin: `percent` of the maximum width, rounded half up (section 3.3)."""
    return (max_width * percent + 50) // 100


def probe_epochs(epochs: int) -> list[int]:
    """The epochs at whose end gradient flow is measured: 0, 99, 199, ..., 999 of 1000; all where
    there are fewer.
    """
    return sorted({index * (epochs - 1) // (PROBES - 1) for index in range(PROBES)})


def _tuples(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}

"""How names are written and ordered in tables and figures: the paper's words, and its order of
rows.

Nothing here changes what is trained or computed; an unknown name is shown as it is, after the known
ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gradflow.study.job import REGULARIZATIONS

# The paper's order of rows, and AdamW (Figure 23 only) last.
OPTIMIZER_LABELS = {
    "adagrad": "Adagrad",
    "adam": "Adam",
    "rmsprop": "RMSProp",
    "sgd": "SGD",
    "momentum": "Mom (0.9)",
    "adamw": "AdamW",
}
ACTIVATION_LABELS = {
    "relu": "ReLU",
    "swish": "Swish",
    "prelu": "PReLU",
    "srelu": "SReLU",
    "sigmoid": "Sigmoid",
    "elu": "ELU",
}
DATASET_LABELS = {
    "digits": "Digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
ARCHITECTURE_LABELS = {"dense": "Dense", "sparse": "Sparse", "magnitude": "Magnitude"}
TARGET_LABELS = {"test_loss": "Test loss", "test_accuracy": "Test accuracy"}

# As mathematical text of matplotlib and LaTeX; `measure_html` gives the same in HTML.
MEASURE_LABELS = {
    "grad_norm_l1": r"$\|g\|_1$",
    "grad_norm_l2": r"$\|g\|_2$",
    "egf_l1": r"$\mathrm{EGF}_1$",
    "egf_l2": r"$\mathrm{EGF}_2$",
}

# How config.yaml, which is plain text, writes them in titles.
_PLAIN_MEASURES = {
    "||g||_1": "grad_norm_l1",
    "||g||_2": "grad_norm_l2",
    "EGF_1": "egf_l1",
    "EGF_2": "egf_l2",
}

ABBREVIATIONS = {
    "NR": "no regularization",
    "DA": "data augmentation",
    "L2": "L2 regularization",
    "SC": "skip connections",
    "BN": "BatchNorm",
}

_ORDERS: dict[str, tuple[str, ...]] = {
    "dataset": tuple(DATASET_LABELS),
    "optimizer": tuple(OPTIMIZER_LABELS),
    "activation": tuple(ACTIVATION_LABELS),
    "regularization": REGULARIZATIONS,
}


def in_order(column: str, names: Iterable[str]) -> list[str]:
    """The distinct `names` of a run table's `column` in the paper's order, unknown ones last by
    alphabet.
    """
    return sorted(set(names), key=lambda name: place(column, name))


def place(column: str, name: str) -> tuple[int, str]:
    """Where `name` stands in that order, as a sort key."""
    known = _ORDERS[column]
    return (known.index(name) if name in known else len(known)), name


def label(column: str, name: str) -> str:
    """How `name`, a value of a run table's `column`, is written: `DA_BN` is `DA BN`, `momentum` is
    `Mom (0.9)`.
    """
    labels = {
        "optimizer": OPTIMIZER_LABELS,
        "activation": ACTIVATION_LABELS,
        "dataset": DATASET_LABELS,
    }
    return labels.get(column, {}).get(name, name.replace("_", " "))


_STUDY_WORDS = {
    "wide "
    "resnet":
        "Wide "
        "ResNet", "low":
        "low "
        "learning rate", "high": "high learning rate", "bn": "BN", "adamw": "AdamW",
}  # fmt: skip


def study_label(name: str) -> str:
    """A study by its name in words: `fashion_mnist_low` is `Fashion-MNIST, low`."""
    words = name
    for dataset, written in DATASET_LABELS.items():
        words = re.sub(rf"(?:^|_){dataset}(?:_|$)", f", {written}, ", words)
    parts = [part.replace("_", " ").strip() for part in words.split(", ")]
    text = ", ".join(filter(None, parts))
    for plain, written in _STUDY_WORDS.items():
        text = re.sub(rf"\b{plain}\b", written, text)
    return text[:1].upper() + text[1:]


def measure_html(measure: str) -> str:
    """A measure's name in HTML, for example `EGF<sub>2</sub>`."""
    norm = measure[-1]
    return f"EGF<sub>{norm}</sub>" if measure.startswith("egf") else f"‖g‖<sub>{norm}</sub>"


def typeset(title: str) -> str:
    """A title of config.yaml with the measures' names (`EGF_1`, `||g||_2`) as mathematical text of
    matplotlib.
    """
    for plain, measure in _PLAIN_MEASURES.items():
        title = title.replace(plain, MEASURE_LABELS[measure])
    return title


def plain_measures(title: str) -> str:
    """A title of config.yaml with the measures' names in Unicode: `EGF₂`, `‖g‖₁`."""
    for plain in _PLAIN_MEASURES:
        number = "₁₂"[int(plain[-1]) - 1]
        title = title.replace(plain, f"EGF{number}" if plain.startswith("EGF") else f"‖g‖{number}")
    return title


def abbreviations(regularizations: Iterable[str]) -> str:
    """What the letters in the names of some regularizations mean, as a sentence; empty where there
    are none.
    """
    used = {part for name in regularizations for part in name.split("_")}
    meanings = [f"{short}: {long}" for short, long in ABBREVIATIONS.items() if short in used]
    return "; ".join(meanings) + "." if meanings else ""


METHOD_LABELS = {
    "random": "Random",
    "random_erk": "Random, ERK",
    "magnitude": "Magnitude",
    "magnitude_erk": "Magnitude, ERK",
    "snip": "SNIP",
    "grasp": "GraSP",
    "synflow": "SynFlow",
    "egf": "EGF",
    "set": "SET",
    "rigl": "RigL",
    "dense": "Dense",
}


def variant_label(name: str) -> str:
    """A variant of config.yaml by its name in words: `shared_max_fan_in` is `shared max fan-in`."""
    return name.replace("_", " ").replace("fan in", "fan-in")


def method_label(name: str) -> str:
    """Of a method that chooses masks; one of your own by its file's name."""
    return METHOD_LABELS.get(name, name)

"""The scale of rounding, from dense networks that are the same by specification."""

from __future__ import annotations

import pandas as pd

from gradflow.analysis.rounding_noise import RoundingNoise, rounding_noise

RULES = {
    "paper": "shared_dense_fan_in",
    "active_fan_in": "active_fan_in",
    "batch_100": "shared_dense_fan_in",
}


def runs(**accuracies: list[float]) -> pd.DataFrame:
    """Dense networks, a seed an accuracy, and sparse ones far from each other."""
    return pd.DataFrame(
        {
            "variant": variant, "initialisation": RULES[variant], "architecture": architecture,
            "model": "mlp",
            "dataset": "digits", "configuration": "c", "dense_width": 10, "max_width": 100,
            "width_percent": 10,
            "seed": seed, "l2": 0.0, "batch_size": 128, "epochs": 5,
            "test_accuracy": accuracy if architecture == "dense" else hash((variant, seed)) % 90,
        }
        for variant, values in accuracies.items()
        for architecture in ("dense", "sparse")
        for seed, accuracy in enumerate(values)
    )  # fmt: skip


def test_pairs_of_the_same_dense_network() -> None:
    found = rounding_noise(
        runs(paper=[50, 60, 70, 80], active_fan_in=[50, 61.5, 69], batch_100=[1])
    )
    assert found == RoundingNoise(3, 1, 1.0, 1.5)
    assert "by 1.00 percentage points in the median and 1.50 at most" in found.sentence
    assert "1 of them are identical" in found.sentence


def test_identical_ones_are_called_so() -> None:
    found = rounding_noise(runs(paper=[50, 60], active_fan_in=[50, 60]))
    assert found is not None
    assert found.sentence.endswith(
        "2 pairs of dense networks that are the same by specification are identical."
    )


def test_without_the_other_variant_there_is_no_scale() -> None:
    assert rounding_noise(runs(paper=[50, 60], batch_100=[50, 60])) is None

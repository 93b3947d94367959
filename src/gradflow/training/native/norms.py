"""The sums that a layer's part in the gradient flow is made of, in one pass over its gradient."""

from __future__ import annotations

import math

from gradflow.training.native.compiled import kernel


@kernel
def add_up(gradient, mask, sums, zero):
    """Sums of |g| and g * g over all weights and over the active ones: rows in g's type, then
    float64.

    Args:
        gradient: [in, out], unmasked.
        mask: ones and zeros [in, out]; a single row of ones for a dense layer.
        sums: takes the four, float64.
        zero: 0 in the gradient's type.
    """
    sums[:] = 0.0
    masked = mask.shape[0] == gradient.shape[0]
    for i in range(gradient.shape[0]):
        row, one, two, active_one, active_two = gradient[i], zero, zero, zero, zero
        if masked:
            chosen = mask[i]
            for j in range(len(row)):
                size = abs(row[j])
                active = size if chosen[j] else zero
                one += size
                two += size * size
                active_one += active
                active_two += active * active
        else:
            for j in range(len(row)):
                size = abs(row[j])
                one += size
                two += size * size
            active_one, active_two = one, two
        sums[0] += one
        sums[1] += two
        sums[2] += active_one
        sums[3] += active_two


@kernel
def add_measures(sums, totals):
    """Add ||g||_1, ||g||_2, EGF_1 and EGF_2 of a minibatch (Equations 5 and 7) to totals [4].

    Args:
        sums: [layers, 4], as `add_up` leaves them.
        totals: in the order of `run_log.MEASURES`.
    """
    layers = sums.shape[0]
    one, two, egf_one, egf_two = 0.0, 0.0, 0.0, 0.0
    for layer in range(layers):
        one += sums[layer, 0]
        two += sums[layer, 1]
        egf_one += sums[layer, 2]
        egf_two += math.sqrt(sums[layer, 3])
    totals[0] += one
    totals[1] += math.sqrt(two)
    totals[2] += egf_one / layers
    totals[3] += egf_two / layers

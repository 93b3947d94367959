"""A layer's products over its active weights alone: worth it where a mask is sparse.

The active weights of a mask [in, out] are listed twice, by output for the forward pass and by input
for the others; four of them are done at a time, so that a row of results is loaded once for four.
"""

from __future__ import annotations

import numpy as np

from gradflow.training.native.compiled import kernel


class ActiveWeights:
    """Where the active weights of one layer are.

    `places` count in the flat weight, input by input; `by_input` [in + 1] and `by_output` [out + 1]
    say where each input's and each output's begin.
    """

    def __init__(self, mask: np.ndarray):
        """Take a mask [in, out]."""
        inputs, outputs = np.nonzero(mask)
        n_in, n_out = mask.shape
        self.places = inputs * n_out + outputs
        self.outputs = outputs
        self.by_input = np.searchsorted(inputs, np.arange(n_in + 1))
        order = np.lexsort((inputs, outputs))
        self.inputs = inputs[order]
        self.places_by_output = self.places[order]
        self.by_output = np.searchsorted(outputs[order], np.arange(n_out + 1))


@kernel
def multiply(begin, other, places, weights, x, y):
    """y[r] = the sum of weights[places] * x[other] over the active weights of row r.

    Args:
        begin: [rows + 1], where each row's weights begin.
        other: the row of x that each weight takes.
        places: of each weight in `weights`.
        weights: a layer's, flat.
        x: [.., B].
        y: takes the result, [rows, B].
    """
    batch = x.shape[1]
    for r in range(y.shape[0]):
        out = y[r]
        k, end = begin[r], begin[r + 1]
        for b in range(batch):
            out[b] = 0
        while k + 4 <= end:
            w0, w1 = weights[places[k]], weights[places[k + 1]]
            w2, w3 = weights[places[k + 2]], weights[places[k + 3]]
            x0, x1, x2, x3 = x[other[k]], x[other[k + 1]], x[other[k + 2]], x[other[k + 3]]
            for b in range(batch):
                out[b] += w0 * x0[b] + w1 * x1[b] + w2 * x2[b] + w3 * x3[b]
            k += 4
        while k < end:
            w0, x0 = weights[places[k]], x[other[k]]
            for b in range(batch):
                out[b] += w0 * x0[b]
            k += 1


@kernel
def weight_gradient(by_input, outputs, h, d, gradient, zero):
    """The gradient of each active weight: the sum over the minibatch of its input times its
    output's gradient.

    Args:
        by_input, outputs: of `ActiveWeights`.
        h: the layer's inputs [in, B].
        d: the loss's gradient by its products [out, B].
        gradient: takes the result, one value an active weight.
        zero: 0 in the arrays' own type.
    """
    batch = h.shape[1]
    for r in range(h.shape[0]):
        row = h[r]
        k, end = by_input[r], by_input[r + 1]
        while k + 4 <= end:
            d0, d1, d2, d3 = d[outputs[k]], d[outputs[k + 1]], d[outputs[k + 2]], d[outputs[k + 3]]
            s0, s1, s2, s3 = zero, zero, zero, zero
            for b in range(batch):
                v = row[b]
                s0 += v * d0[b]
                s1 += v * d1[b]
                s2 += v * d2[b]
                s3 += v * d3[b]
            gradient[k], gradient[k + 1], gradient[k + 2], gradient[k + 3] = s0, s1, s2, s3
            k += 4
        while k < end:
            d0, s0 = d[outputs[k]], zero
            for b in range(batch):
                s0 += row[b] * d0[b]
            gradient[k] = s0
            k += 1

"""Cross-entropy of a minibatch and its gradient; the logits' logarithms are PyTorch's."""

from __future__ import annotations

from gradflow.training.native.compiled import kernel


@kernel
def add_loss(logarithms, labels, share, loss):
    """Add `share` times the minibatch's mean loss to loss[0].

    Args:
        logarithms: log softmax of the logits, [classes, B].
        labels: [B].
        share: 1 in training; else of this minibatch in all the images. An array of one value.
        loss: [1], float64.
    """
    batch, total = logarithms.shape[1], 0.0
    for b in range(batch):
        total -= logarithms[labels[b], b]
    loss[0] += share[0] * (total / batch)


@kernel
def loss_gradient(labels, share, d):
    """Turn d, which holds the softmax of the logits [classes, B], into the loss's gradient by them.

    Args:
        labels, share: as in `add_loss`.
        d: changed in place.
    """
    classes, batch = d.shape
    each = d.dtype.type(share[0] / batch)
    for c in range(classes):
        for b in range(batch):
            d[c, b] *= each
    for b in range(batch):
        d[labels[b], b] -= each


@kernel
def count_correct(logits, labels, correct):
    """Add to correct[0] how many columns of logits [classes, B] are largest, first, in the row of
    their label.
    """
    classes, batch = logits.shape
    for b in range(batch):
        best = 0
        for c in range(1, classes):
            # as torch.argmax: the first of equal ones, and not-a-number above all
            if logits[c, b] > logits[best, b] or (
                logits[c, b] != logits[c, b] and logits[best, b] == logits[best, b]
            ):
                best = c
        correct[0] += best == labels[b]

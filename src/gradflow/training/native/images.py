"""A minibatch from the data set's bytes in one pass: gather, crop, flip and normalise,
feature-major.
"""

from __future__ import annotations

from gradflow.training.native.compiled import kernel


@kernel
def gather(images, labels, chosen, mean, std, x, y):
    """Fill a minibatch with images as they are.

    Args:
        images: [N, C, H, W].
        labels: [N].
        chosen: which images, [B].
        mean, std: [C] in x's type.
        x: takes them normalised, [C * H * W, B].
        y: takes their labels, [B].
    """
    channels, height, width = images.shape[1:]
    for c in range(channels):
        m, s = mean[c], std[c]
        for i in range(height):
            for j in range(width):
                row = x[(c * height + i) * width + j]
                for b in range(len(chosen)):
                    row[b] = (mean.dtype.type(images[chosen[b], c, i, j]) - m) / s
    for b in range(len(chosen)):
        y[b] = labels[chosen[b]]


@kernel
def gather_augmented(padded, labels, chosen, draws, height, width, mean, std, x, y):
    """Fill a minibatch with images cropped at random from padded ones, and flipped.

    Args:
        padded: [N, C, H + 2 * padding, W + 2 * padding].
        draws: rows (dy, dx, flip) of uint8, [B, 3].
        height, width: of a crop.
        labels, chosen, mean, std, x, y: as in `gather`.
    """
    channels = padded.shape[1]
    for c in range(channels):
        m, s = mean[c], std[c]
        for i in range(height):
            for j in range(width):
                row = x[(c * height + i) * width + j]
                for b in range(len(chosen)):
                    column = width - 1 - j if draws[b, 2] else j
                    pixel = padded[chosen[b], c, draws[b, 0] + i, draws[b, 1] + column]
                    row[b] = (mean.dtype.type(pixel) - m) / s
    for b in range(len(chosen)):
        y[b] = labels[chosen[b]]

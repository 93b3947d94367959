"""The activation functions and their derivatives (Figure 14). No run is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradflow.analysis.figures import (
    COLOURS,
    LINE_STYLES,
    add_foot,
    foot_note,
    page_width,
    style,
    wrapped_title,
)
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact
from gradflow.networks.activations import functions_at_start
from gradflow.study import labels
from gradflow.study.job import Settings

_MARKERS = ("o", "s", "D", "v", "^", "P")
_LEARNED = ("prelu", "srelu")


def plot_activations(request: Request) -> Figure:
    """Those that learn parameters (PReLU, SReLU) are drawn at their first ones."""
    settings = Settings.from_plain(request.definition["settings"])
    return figure_of_activations(functions_at_start(settings), request.artifact)


def figure_of_activations(
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]], artifact: Artifact
) -> Figure:
    """The activation functions (a) and their derivatives (b) on [-5, 5] (Figure 14).

    Args:
        functions: by name; each takes and gives a tensor of any shape. Derivatives are autograd's.
        artifact: the figure's.
    """
    inputs = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
    with style():
        width = page_width(artifact.layout, 2)
        figure = Figure(figsize=(width, 2.6))
        if title := wrapped_title(artifact, width):
            figure.suptitle(title)
        axes = figure.subplots(1, 2)
        lines, slopes = [], {}
        for index, (name, function) in enumerate(functions.items()):
            outputs = function(inputs)
            (derivatives,) = torch.autograd.grad(outputs.sum(), inputs)
            look: dict[str, Any] = {
                "color": COLOURS[index % len(COLOURS)],
                "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
                # in black and white PReLU and SReLU differ by these alone; staggered, since lines
                # coincide
                "marker": _MARKERS[index % len(_MARKERS)],
                "markevery": (40 + 25 * index, 160),
            }
            for panel, values in zip(axes, (outputs.detach(), derivatives), strict=True):
                panel.plot(inputs.detach().numpy(), values.numpy(), **look)
            if name in _LEARNED:
                slopes[labels.label("activation", name)] = float(derivatives[0])
            lines.append(Line2D([], [], label=labels.label("activation", name), **look))
        for panel, part in zip(axes, ("(a) Activation function", "(b) Derivative"), strict=True):
            panel.axhline(0, color="0.5", linewidth=0.6, zorder=0)
            panel.set_title(part, loc="left")
            panel.set_xlabel("input")
            panel.set_xlim(-5, 5)
        text = foot_note(artifact, _slopes_note(slopes), width)
        add_foot(figure, lines, text, columns=-(-len(lines) // 2), length=3.5)
    return figure


def _slopes_note(slopes: dict[str, float]) -> str:
    """What tells the functions that learn apart before they have learned."""
    if not slopes:
        return ""
    which = ", ".join(f"{name} {slope:g}" for name, slope in slopes.items())
    return f"Those that learn are drawn as they start. Slope below zero: {which}."

"""The activation functions and their derivatives (Figure 14). No run is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradflow.analysis.figures import COLOURS, LINE_STYLES, TEXT_WIDTH, style
from gradflow.analysis.request import Request
from gradflow.networks.activations import functions_at_start
from gradflow.study import labels
from gradflow.study.job import Settings


def plot_activations(request: Request) -> Figure:
    """Those that learn parameters (PReLU, SReLU) are drawn at their first ones."""
    settings = Settings.from_plain(request.definition["settings"])
    return figure_of_activations(functions_at_start(settings), request.artifact.title)


def figure_of_activations(
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]], title: str
) -> Figure:
    """The activation functions (a) and their derivatives (b) on [-5, 5] (Figure 14).

    Args:
        functions: by name; each takes and gives a tensor of any shape. Derivatives are autograd's.
        title: of the figure.
    """
    inputs = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
    with style():
        figure = Figure(figsize=(TEXT_WIDTH, 3.1))
        figure.suptitle(title)
        axes = figure.subplots(1, 2)
        lines = []
        for index, (name, function) in enumerate(functions.items()):
            outputs = function(inputs)
            (derivatives,) = torch.autograd.grad(outputs.sum(), inputs)
            look: dict[str, Any] = {
                "color": COLOURS[index % len(COLOURS)],
                "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
            }
            for panel, values in zip(axes, (outputs.detach(), derivatives), strict=True):
                panel.plot(inputs.detach().numpy(), values.numpy(), **look)
            lines.append(Line2D([], [], label=labels.label("activation", name), **look))
        for panel, part in zip(axes, ("(a) Activation function", "(b) Derivative"), strict=True):
            panel.axhline(0, color="0.5", linewidth=0.6, zorder=0)
            panel.set_title(part, loc="left")
            panel.set_xlabel("input")
            panel.set_xlim(-5, 5)
        figure.legend(
            handles=lines, loc="outside lower center", ncols=-(-len(lines) // 2), handlelength=3.5
        )
    return figure

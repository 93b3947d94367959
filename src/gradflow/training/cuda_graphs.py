"""Replaying a step, on a GPU as a captured CUDA graph, which the host submits as one.

Submitting a step's hundreds of kernels one by one takes longer than narrow networks compute. A step
that is replayed is a function of tensors which stay where they are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

SWITCH = "GRADFLOW_GRAPHS"  # environment variable: auto (the default: on a GPU), on or off
WARM_UPS = 3  # before a capture, for what libraries do at their first calls
# steps that the host may be ahead of the device: a request to stop is answered once these are done
AHEAD = 64

Step = Callable[[], None]


class Graph(Protocol):
    """A captured step."""

    def replay(self) -> None:
        """Do it again."""


class PythonGraph:
    """Stands for a CUDA graph where there is none, so that tests pass through the capture on a CPU."""

    def __init__(self, step: Step):
        self.replay = step


class Replayer:
    """Runs steps: from Python, or captured at their first use and replayed from then on."""

    def __init__(self, device: torch.device, state: Callable[[], Iterable[Tensor]]):
        """Take the device, and how to list every tensor that a step changes: warming up must leave no trace."""
        self.device = device
        self.state = state
        self.capturing = graphs_wanted(device)
        self.graphs: dict[Hashable, Graph] = {}
        self._pool = (
            torch.cuda.graph_pool_handle() if self.capturing and device.type == "cuda" else None
        )
        self._submitted: deque[torch.cuda.Event] = deque()
        self._branches: list[torch.cuda.Stream] = []

    def run(self, key: Hashable, step: Step) -> None:
        """Do `step`; `key` tells apart the steps whose kernels differ, by shape or by a number that is built in."""
        if not self.capturing:
            step()
        else:
            if key not in self.graphs:
                self.graphs[key] = self._capture(step)
            self.graphs[key].replay()
        if self.device.type == "cuda":
            self._keep_close()

    def side_by_side(self, steps: Sequence[Step]) -> None:
        """Do the parts of a step that share no tensor they write.

        In a CUDA graph they are branches that run at the same time, since a narrow network leaves
        most of a GPU idle.
        """
        if (
            self.device.type != "cuda"
            or len(steps) == 1
            or not torch.cuda.is_current_stream_capturing()
        ):
            for step in steps:
                step()
            return
        main = torch.cuda.current_stream(self.device)
        while len(self._branches) < len(steps):
            self._branches.append(torch.cuda.Stream(self.device))
        for step, branch in zip(steps, self._branches, strict=False):
            branch.wait_stream(main)
            with torch.cuda.stream(branch):
                step()
        for _, branch in zip(steps, self._branches, strict=False):
            main.wait_stream(branch)

    @torch.no_grad()
    def _warm_up(self, step: Step) -> None:
        before = [(tensor, tensor.clone()) for tensor in self.state()]
        for _ in range(WARM_UPS):
            with torch.enable_grad():
                step()
            for tensor, value in before:
                tensor.copy_(value)

    def _capture(self, step: Step) -> Graph:
        if self.device.type != "cuda":
            self._warm_up(step)
            return PythonGraph(step)
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            self._warm_up(step)
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # one pool for all: no graph leaves anything in it for another
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        return graph

    def _keep_close(self) -> None:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        self._submitted.append(event)
        if len(self._submitted) > AHEAD:
            self._submitted.popleft().synchronize()


def graphs_wanted(device: torch.device) -> bool:
    """Whether steps are captured, by the environment variable GRADFLOW_GRAPHS.

    Raises:
        ValueError: the variable is none of auto, on and off.
    """
    wanted = os.environ.get(SWITCH, "auto")
    if wanted not in ("auto", "on", "off"):
        raise ValueError(f"{SWITCH} is {wanted}; it may be auto, on or off")
    return device.type == "cuda" if wanted == "auto" else wanted == "on"

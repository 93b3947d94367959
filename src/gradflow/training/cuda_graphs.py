"""Replaying a step, on a GPU as a captured CUDA graph, which the host submits as one.

Submitting a step's hundreds of kernels one by one takes longer than narrow networks compute. A step
that is replayed is a function of tensors which stay where they are.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from gradflow.training.tape import Tape

SWITCH = "GRADFLOW_GRAPHS"  # environment variable: auto (the default: on a GPU), on or off
WARM_UPS = 3  # before a capture, for what libraries do at their first calls
# steps that the host may be ahead of the device: a request to stop is answered once these are done
AHEAD = 64

Step = Callable[[], None]


class Graph(Protocol):
    """A captured step."""

    def replay(self) -> None:
        """Do it again."""


class Replayer:
    """Runs steps: from Python, or captured at their first use and replayed from then on."""

    def __init__(self, device: torch.device, state: Callable[[], Iterable[Tensor]]):
        """Take the device, and how to list every tensor that a step changes: warming up must leave
        no trace.
        """
        self.device = device
        self.state = state
        self.capturing = graphs_wanted(device)
        self.graphs: dict[Hashable, Graph] = {}
        self._pool = (
            torch.cuda.graph_pool_handle() if self.capturing and device.type == "cuda" else None
        )
        self._submitted: deque[torch.cuda.Event] = deque()
        self._branches: list[torch.cuda.Stream] = []
        self._aside: torch.cuda.Stream | None = None

    def run(self, key: Hashable, step: Step) -> None:
        """Do `step`; `key` tells apart the steps whose kernels differ, by shape or by a number that
        is built in.
        """
        if self.capturing and key not in self.graphs:
            self._try_to_capture(key, step)
        if self.capturing:
            self.graphs[key].replay()
        else:
            step()
        if self.device.type == "cuda":
            self._keep_close()

    def forget(self, useless: Callable[[Hashable], bool]) -> None:
        """Give up the graphs of some keys, which hold memory and will not be replayed."""
        for key in [key for key in self.graphs if useless(key)]:
            del self.graphs[key]

    def _try_to_capture(self, key: Hashable, step: Step) -> None:
        """Add a graph, or where it cannot be captured give all of them up: they hold memory too."""
        try:
            self.graphs[key] = self._capture(step)
        except RuntimeError as error:  # out of memory is one
            reason = str(error).strip().split("\n")[0]
            print(
                f"a step cannot be captured as a graph ({reason}); every step runs from Python "
                f"now, which is slower; {SWITCH}=off leaves out the attempt",
                file=sys.stderr,
            )
            self.capturing = False
            self.graphs.clear()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

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

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Leave no trace of the steps in the block, however it ends."""
        before = [(tensor, tensor.detach().clone()) for tensor in self.state()]
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)

    def _warm_up(self, step: Step) -> None:
        for _ in range(WARM_UPS):
            with self._undone():
                step()

    def _capture(self, step: Step) -> Graph:
        if self.device.type != "cuda":
            with self._undone():
                return Tape(step)
        if self._aside is None:  # a stream keeps a workspace of cuBLAS for itself
            self._aside = torch.cuda.Stream(self.device)
        self._aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._aside):
            self._warm_up(step)
        torch.cuda.current_stream(self.device).wait_stream(self._aside)
        graph = torch.cuda.CUDAGraph()
        # one pool for all: no graph leaves anything in it for another
        with torch.cuda.graph(graph, pool=self._pool, stream=self._aside):
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

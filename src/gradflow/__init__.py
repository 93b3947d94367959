"""Same-capacity sparse/dense comparison (SC-SDC) and effective gradient flow (EGF).

What a notebook needs, by name:

- gradient flow of any torch module: `measure` (`measure_gradient_flow`), which returns a
  `GradientFlow`
- which weights stay: `masks` of any module by one of `methods`; `compare_modules`, a dense one and
  a masked one of your own; `compare`, MLPs on your own data, by a method; `stats`, the tests
- masks: `random_mask`, `magnitude_mask`, `live_weights`; dense twins of the same capacity:
  `mlp_layer_shapes`, `capacity`, `dense_width`; random numbers by key: `stream`
- sparse against dense on your own data: `tensor_data`, `train_twins` with a `Configuration` and
  `Settings`, and `signed_rank_test` on the pairs, which returns a `SignedRankTest`
- what the workflow leaves in results/: `read_config`, `load_dataset`, `read_log` (one run),
  `read_rows` (a study), `summarise_runs`, `pair_twins`, `mean_absolute_tau`
- the paper's own numbers: `load_p_values`, `load_correlations`, `load_means`

The packages below are the stages of a study, in the order `study`, `data`, `networks`, `training`,
`analysis`, `paper`, `report`, `workflow`; each imports from those before it alone. Nothing heavy
is imported until a name is used.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "1.0.0"


def _homes() -> dict[str, str]:
    """The module of each public name, from the stub that type checkers read."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    found = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in found for alias in node.names}


_HOMES = _homes()
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradflow' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # a module, as `stats`, is no attribute of its package before it is imported
    return getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

"""Optimizers of your own, a file each.

It defines

- `STATE`: names of the tensors that it keeps for each parameter, each of its shape and zero at
  first;
- `update(parameters, gradients, state, learning_rate, weight_decay)`: one step, in place.
  `parameters`, `gradients` and each `state[name]` are lists of equal length. `weight_decay` is the
  L2 coefficient (0 without L2), to be added to the gradient or decoupled, as your optimizer has it.

It must be elementwise, since parameters are those of K networks, stacked; and leave a weight at
zero whose gradient is zero and was always zero, since this keeps masked weights masked. On a GPU it
is replayed as a CUDA graph: no `.item()` and no Python numbers that change; a step count is a state
like any other.

`pytest tests/training/test_optimizers.py -k NAME` holds it to these.
"""

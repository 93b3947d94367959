"""Activations of your own, a file each.

It defines

- `make(networks, settings)`: a torch module for one layer of K = `networks` stacked networks, which
  maps [K, ...] to [K, ...]. One without learned parameters may ignore both, `return
  torch.nn.Hardswish()`; `gradflow.networks.activations.StackedPReLU` shows one that learns a value for
  each network.
"""

"""Masks of your own that sparse networks start with, a file each.

It defines

- `masks(start)`: a bool tensor for each layer of a `gradflow.networks.pruning.Start`, with as many
  active weights in total as the dense twin has (`sum(start.active)`).

`start.weights` are the initial weights, one tensor a layer; `start.gradients(weights)` those of the
mean loss over some training images; `start.paths(weights)` the outputs of the linear network on
ones, summed; `start.stream("purpose")` the run's own random numbers. `gradflow.networks.pruning` has
`largest_by_layer`, which keeps the dense twin's count in each layer, and `largest_of_all`. Every
file of `gradflow.networks.initial_masks` is an example.
"""

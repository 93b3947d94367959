"""Rules of your own that move masks while networks train, a file each.

It defines

- `update(stack, steps, job)`: other masks for a `gradflow.training.stack.Stack`, a tensor [K, ...]
  of ones and zeros for each layer, or None to keep the present ones. Every network must keep its
  number of active weights in every layer. `stack.masks` and `stack.layers` are what there is; the
  `.grad` of a layer is that of the minibatch, unmasked. `steps` are done so far.

It is called in the first step of every epoch that is a multiple of the setting
`mask_update_interval`, but the first, between the backward pass and the update. Draw random numbers
from `gradflow.study.streams.stream`, keyed by the run, the layer and `steps`, so that a resumed job
draws the same ones; `gradflow.training.mask_updates` shows how.
"""

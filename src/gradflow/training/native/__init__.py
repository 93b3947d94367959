"""The step of an MLP on a CPU without autograd: products by a BLAS, everything between them
compiled.

- `compiled`: how kernels are compiled and where their machine code is kept
- `images`: from the data set's bytes to a minibatch in one pass
- `products`, `active_products`: a layer's three products, over all weights or over the active ones
- `between_products`: BatchNorm, skip and activation in one pass each way
- `loss`, `norms`: cross-entropy and its gradient; sums that the flow of a gradient is made of
- `updates`: mask, L2 and optimizer in one pass over a layer
- `choice`: which kernels, by measuring them where they run
- `network`: one network's step as a list of kernel calls
- `steps`: the steps of a cohort, in place of those by autograd

Activations lie feature-major, [features, B]: every kernel runs along the minibatch, contiguously.
A network's numbers do not depend on the others in its job, since each has its own products.
"""

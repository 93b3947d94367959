"""Which weights a sparse network starts with: a method a file, by its name in config.yaml
(`initial_mask`).

Each file has one function, `masks(start)`, which returns a mask for each layer of a
`gradflow.networks.pruning.Start`. The paper's is `random`. Methods that keep each layer's count
have the same capacity as the dense twin in every layer; the others (by all layers together) in
total.
"""

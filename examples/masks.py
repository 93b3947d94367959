# %% [markdown]
# # Masks of the same capacity
#
# A sparse network has the maximum width. Its dense twin is narrower, with as many active weights in
# every layer.

# %%
import sys
from pathlib import Path

import torch

# the library beside this folder, in which a notebook runs
here = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
sys.path.insert(0, str(here.parent / "src"))

from gradflow import capacity, dense_width, live_weights, mlp_layer_shapes, random_mask, stream

INPUTS, CLASSES, HIDDEN_LAYERS, MAX_WIDTH = 64, 10, 4, 256
sparse_shapes = mlp_layer_shapes(INPUTS, MAX_WIDTH, HIDDEN_LAYERS, CLASSES)
places = capacity(sparse_shapes)

# %% [markdown]
# A mask at a density: the number of active weights is exact, each place is equally likely.

# %%
density = 0.05
layer = random_mask(sparse_shapes[1], round(density * places[1]), stream("masks", "any seed"))
print(f"one layer at density {density}: {int(layer.sum())} of {layer.numel()} weights are active")

# %% [markdown]
# The masks of SC-SDC: for each dense width, those of its sparse twin. Live weights are on a path
# from an input to an output; at a tenth of the width many are not.


# %%
def linear_paths(layers: list[torch.Tensor]) -> torch.Tensor:
    """The network with identity activations, on inputs of one: [K, 1, in] through layers [K, in,
    out].
    """
    hidden = torch.ones(1, 1, INPUTS, dtype=layers[0].dtype)
    for weight in layers:
        hidden = hidden @ weight
    return hidden


print("dense width  active = the dense twin's  density of the hidden layers  live")
for percent in (10, 30, 50, 70, 90):
    width = dense_width(MAX_WIDTH, percent)
    dense = capacity(mlp_layer_shapes(INPUTS, width, HIDDEN_LAYERS, CLASSES))
    masks = [
        random_mask(shape, active, stream("masks", percent, index))
        for index, (shape, active) in enumerate(zip(sparse_shapes, dense, strict=True))
    ]
    assert [int(mask.sum()) for mask in masks] == dense
    live = sum(
        int(count) for count in live_weights(linear_paths, [mask.unsqueeze(0) for mask in masks])
    )
    print(f"{width:11d}  {sum(dense):25d}  {dense[1] / places[1]:28.1%}  {live / sum(dense):.1%}")

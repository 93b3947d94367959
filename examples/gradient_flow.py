# %% [markdown]
# # Gradient flow of one's own torch module
#
# `measure_gradient_flow` takes any module, with or without masks, and leaves it as it was. ||g||
# counts the gradients of masked weights, EGF leaves them out and averages the norms of the layers
# (Equations 5 to 7).

# %%
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

# the library beside this folder, in which a notebook runs
here = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
sys.path.insert(0, str(here.parent / "src"))

from gradflow.flow import measure_gradient_flow
from gradflow.networks.masks import random_mask
from gradflow.study.streams import stream

torch.manual_seed(0)
patterns = torch.randn(10, 1, 8, 8)
labels = torch.arange(1500) % 10
images = patterns[labels] + torch.randn(1500, 1, 8, 8)
batches = list(zip(images.split(250), labels.split(250), strict=True))

# %% [markdown]
# A small convolutional network, its weight matrices and kernels masked to a fifth. Biases and
# BatchNorm are no layers.

# %%
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
    nn.Linear(1024, 64), nn.ReLU(),
    nn.Linear(64, 10),
)  # fmt: skip
parameters = dict(network.named_parameters())
layers = ["0.weight", "4.weight", "6.weight"]
masks = {
    name: random_mask(
        parameters[name].shape, parameters[name].numel() // 5, stream("gradient_flow", name)
    )
    for name in layers
}
with torch.no_grad():
    for name, mask in masks.items():
        parameters[name].mul_(mask)

# %% [markdown]
# Train with the gradient masked before each update, which keeps masked weights at zero, and measure
# after each epoch.

# %%
optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
print("epoch   loss  ||g||_2  EGF_2  EGF_2 by layer")
for epoch in range(5):
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        for name, mask in masks.items():
            parameters[name].grad.mul_(mask)
        optimizer.step()
    flow = measure_gradient_flow(network, F.cross_entropy, batches, layers, masks)
    by_layer = "  ".join(f"{value:.4f}" for value in flow.layer_egf[2])
    print(f"{epoch:5d}  {loss.item():.3f}  {flow.grad_norm(2):7.4f}  {flow.egf(2):.4f}  {by_layer}")
assert all(torch.all(parameters[name][~mask] == 0) for name, mask in masks.items())

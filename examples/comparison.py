# %% [markdown]
# # Sparse against dense of the same capacity, on one's own data
#
# Any tensors will do: here 20 features, labelled by a random network of 6 outputs.

# %%
import sys
from pathlib import Path

import torch

# the library beside this folder, in which a notebook runs
here = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
sys.path.insert(0, str(here.parent / "src"))

from gradflow.analysis.stats import signed_rank_test
from gradflow.study.job import Configuration
from gradflow.twins import tensor_data, train_twins

torch.manual_seed(0)
features = torch.randn(2000, 20)
labels = (torch.relu(features @ torch.randn(20, 30)) @ torch.randn(30, 6)).argmax(1)
data = tensor_data("teacher", features[:1000], labels[:1000], features[1000:], labels[1000:])

# %% [markdown]
# A cell of the paper's tables: 15 pairs of twins, five widths by three seeds. H1: sparse networks
# are more accurate.

# %%
configuration = Configuration(
    dataset="teacher", model="mlp", depth=2, widen_factor=0, activation="relu", optimizer="adam",
    learning_rate=0.01, regularization="BN",
)  # fmt: skip
pairs = train_twins(data, configuration, max_width=60, epochs=5)
test = signed_rank_test(pairs["test_accuracy_sparse"] - pairs["test_accuracy_dense"])
print(
    f"n = {test.n}, median difference {test.median_difference:+.2f} points, p = {test.p_value:.4f}"
)

# %%
columns = ["test_accuracy_dense", "test_accuracy_sparse", "mean_egf_l2_dense", "mean_egf_l2_sparse"]
print(pairs.groupby("dense_width")[columns].mean().round(2).to_string())

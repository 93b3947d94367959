# The public names, each from its home. __init__.py reads this list and imports a name when it is
# first used.
from gradflow.analysis import stats as stats
from gradflow.analysis.runs import pair_twins as pair_twins
from gradflow.analysis.runs import read_rows as read_rows
from gradflow.analysis.runs import summarise_runs as summarise_runs
from gradflow.analysis.stats import SignedRankTest as SignedRankTest
from gradflow.analysis.stats import mean_absolute_tau as mean_absolute_tau
from gradflow.analysis.stats import signed_rank_test as signed_rank_test
from gradflow.data.store import load_dataset as load_dataset
from gradflow.flow import GradientFlow as GradientFlow
from gradflow.flow import measure as measure
from gradflow.flow import measure_gradient_flow as measure_gradient_flow
from gradflow.modules import compare_modules as compare_modules
from gradflow.modules import masks as masks
from gradflow.networks.masks import live_weights as live_weights
from gradflow.networks.masks import magnitude_mask as magnitude_mask
from gradflow.networks.masks import random_mask as random_mask
from gradflow.networks.pruning import methods as methods
from gradflow.paper.published import load_correlations as load_correlations
from gradflow.paper.published import load_means as load_means
from gradflow.paper.published import load_p_values as load_p_values
from gradflow.study.config_file import read_config as read_config
from gradflow.study.job import Configuration as Configuration
from gradflow.study.job import Settings as Settings
from gradflow.study.job import dense_width as dense_width
from gradflow.study.shapes import capacity as capacity
from gradflow.study.shapes import mlp_layer_shapes as mlp_layer_shapes
from gradflow.study.streams import stream as stream
from gradflow.training.run_log import read_log as read_log
from gradflow.twins import compare as compare
from gradflow.twins import tensor_data as tensor_data
from gradflow.twins import train_twins as train_twins

__version__: str

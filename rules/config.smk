# The checked configuration, and where the project lies: the working directory may be another one, and this a module of
# another workflow.
import re
import sys
from copy import deepcopy
from pathlib import Path

# of this file; `workflow.basedir` is the other workflow's
PROJECT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
if not (PROJECT / "src" / "gradflow").is_dir():
    sys.exit(
        f"gradflow runs from a clone, and {PROJECT} is none; see docs/travel.md for its use as a module"
    )
if re.search("[{}]", str(PROJECT)):
    sys.exit(
        f"The project lies in {PROJECT}; Snakemake takes braces in a path for wildcards, so rename the folder"
    )
sys.path.insert(0, str(PROJECT / "src"))

from snakemake.utils import update_config

from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.config_file import (
    check_config_file,
    config_path,
    read_values,
    typed,
)
from gradflow.study.cost import planned_device
from gradflow.study.grid import Grid
from gradflow.workflow.internals import Snakemake
from gradflow.workflow.target_list import target_list
from gradflow.workflow.target_names import rule_names

# as a module this has its settings from `config:` there, and the run is another workflow's
SNAKEMAKE, SNAKEFILE = Snakemake(workflow), PROJECT / "Snakefile"
IS_MODULE = SNAKEMAKE.snakefile.resolve() != SNAKEFILE.resolve()
CONFIG_FILE = config_path()
MODULE_CONFIG = deepcopy(config) if IS_MODULE else {}

try:
    check_config_file(CONFIG_FILE)
    if IS_MODULE:
        config = read_values(CONFIG_FILE)
        update_config(config, MODULE_CONFIG)
    else:
        for path in SNAKEMAKE.config_files:
            check_config_file(path)
except ConfigError as error:
    sys.exit(f"The configuration is wrong; nothing was started.\n{error}")

if not IS_MODULE:

    configfile: str(CONFIG_FILE)

    # what --config names holds text alone below its first level
    update_config(config, typed(SNAKEMAKE.config))


try:
    CONFIG = load_config(config, rule_names(SNAKEFILE))
    GRID = Grid(CONFIG)
    GRID.check()
except (ConfigError, ValueError) as error:
    sys.exit(f"The configuration is wrong; nothing was started.\n{error}")

# Printed here, as a job's output would stand among Snakemake's own lines; targets are not known yet while it reads this.
if "help" in sys.argv[1:] and not IS_MODULE:
    print(target_list(GRID, Path("results"), planned_device(elsewhere=False)))
    sys.exit(0)

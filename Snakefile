# The targets. `snakemake` is the full reproduction (scale paper), `snakemake quick` the laptop one, `snakemake table4`
# one artifact of the paper, `snakemake results/quick/tables/table4.csv` one file, `snakemake results/quick/report.html` a
# scale's report, `snakemake reference` draws what is kept in results/reference. How it runs stands in profiles/.
from snakemake.utils import min_version

min_version("9.0")


include: "rules/config.smk"
include: "rules/common.smk"
include: "rules/data.smk"


# In partial mode the logs are what there is: nothing is trained for what is missing.
if not CONFIG.partial:

    include: "rules/train.smk"


include: "rules/collect.smk"
include: "rules/captions.smk"
include: "rules/report.smk"
include: "rules/archive.smk"
include: "rules/artifacts.smk"
include: "rules/benchmark.smk"
include: "rules/run.smk"


rule all:
    default_target: True
    input:
        artifact_files("paper"),
        scale_pages("paper"),


# every scale is a target: all its artifacts
for scale in CONFIG.scales:

    rule:
        name:
            scale
        input:
            artifact_files(scale),
            scale_pages(scale),


# the results that are kept in the repository: all their artifacts, and never a training
rule reference:
    input:
        lambda _: kept_files(*KEPT),


for scale in KEPT:

    rule:
        name:
            f"{REFERENCE}_{scale}"
        input:
            lambda _, scale=scale: kept_files(scale),


# every artifact is a target: its files at scale paper
for artifact in CONFIG.artifacts:

    rule:
        name:
            artifact
        input:
            files_of("paper", artifact),


# figure2 is figure2a to figure2d
for group, artifacts in artifact_groups(CONFIG.artifacts).items():

    rule:
        name:
            group
        input:
            [path for artifact in artifacts for path in files_of("paper", artifact)],

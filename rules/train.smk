# Training. A rerun follows one string, the job's specification: the inputs are `ancient`, and no source is among them.
# Outputs stand under `update`, since Snakemake would delete the finished logs of a failed job; the trainer keeps each
# log that was written for its specification.

RUNS = "results/{scale}/runs/{variant}/{dataset}/{configuration}/seed{seed}"
LOGS = "results/{scale}/logs/{variant}/{dataset}/{configuration}/seed{seed}"
PRETRAINED = "results/{scale}/pretrained/{variant}/{dataset}/{configuration}/seed{seed}.json"

TRAIN = " --job {params.job:q} --results results --threads {threads} 2> {log:q}"


def job_of(run=""):
    """The specification of a rule's job; `run` is the name of a Wide ResNet's run, with wildcards."""

    def job(wildcards):
        key = "{variant}/{dataset}/{configuration}/seed{seed}".format(**wildcards)
        key += "/" + run.format(**wildcards) if run else ""
        found = GRID.jobs(wildcards.scale).get(key)
        if found is None:
            raise WorkflowError(f"No study of scale {wildcards.scale} trains {key}; see studies in config.yaml.")
        return found.to_json()

    return job


def pretraining_of(wildcards):
    """The specification of the dense network that a magnitude-pruned one starts from: the same at every density."""
    prefix = "{variant}/{dataset}/{configuration}/seed{seed}/".format(**wildcards)
    for key, job in GRID.jobs(wildcards.scale).items():
        if key.startswith(prefix):
            return job.pretraining().to_json()
    raise WorkflowError(f"No study of scale {wildcards.scale} trains {prefix}; see studies in config.yaml.")


rule train_mlp:
    input:
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=ancient("results/data/{dataset}.json"),
    output:
        **{
            f"{architecture}_w{percent}": update(f"{RUNS}/{architecture}-w{percent}.parquet")
            for architecture in ("dense", "sparse")
            for percent in CONFIG.percents
        },
    params:
        job=job_of(),
    log:
        f"{LOGS}.log",
    wildcard_constraints:
        configuration="mlp[^/]+",
    threads: 1
    resources:
        mem_mb=2000,
    shell:
        "{PYTHON} {SCRIPTS:q}/train_mlp.py" + TRAIN


rule train_wide_resnet:
    input:
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=ancient("results/data/{dataset}.json"),
    output:
        log=update(f"{RUNS}/{{architecture}}-d{{density}}.parquet"),
    params:
        job=job_of("{architecture}-d{density}"),
    log:
        f"{LOGS}/{{architecture}}-d{{density}}.log",
    wildcard_constraints:
        configuration="wrn[^/]+",
        architecture="dense|sparse",
    threads: 1
    resources:
        mem_mb=4000,
    shell:
        "{PYTHON} {SCRIPTS:q}/train_wide_resnet.py" + TRAIN


rule pretrain_wide_resnet:
    input:
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=ancient("results/data/{dataset}.json"),
    output:
        pretrained=update(PRETRAINED),
    params:
        job=pretraining_of,
    log:
        f"{LOGS}/pretraining.log",
    wildcard_constraints:
        configuration="wrn[^/]+",
    threads: 1
    resources:
        mem_mb=4000,
    shell:
        "{PYTHON} {SCRIPTS:q}/pretrain_wide_resnet.py" + TRAIN


rule prune_and_finetune:
    input:
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=ancient("results/data/{dataset}.json"),
        pretrained=ancient(PRETRAINED),
    output:
        log=update(f"{RUNS}/magnitude-d{{density}}.parquet"),
    params:
        job=job_of("magnitude-d{density}"),
    log:
        f"{LOGS}/magnitude-d{{density}}.log",
    wildcard_constraints:
        configuration="wrn[^/]+",
    threads: 1
    resources:
        mem_mb=4000,
    shell:
        "{PYTHON} {SCRIPTS:q}/prune_and_finetune.py" + TRAIN

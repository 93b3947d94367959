# Training. A rerun follows one string, the job's specification: data are `ancient`, and no source is among the inputs.
# Outputs stand under `update`, since Snakemake would delete the finished logs of a failed job; the trainer keeps each
# log that was written for its specification.

RUNS = "results/{scale}/runs/{variant}/{dataset}/{configuration}/seed{seed}"
LOGS = "results/{scale}/logs/{variant}/{dataset}/{configuration}/seed{seed}"
PRETRAINED = (
    "results/{scale}/pretrained/{variant}/{dataset}/{configuration}/seed{seed}.json"
)
TRAIN = " --job {params.job:q} --results results --threads {threads} 2> {log:q}"
# a flag of the command and no param: switching it on or off trains nothing again
KEEP_WEIGHTS = "".join(
    f" --keep-weights {scale}"
    for scale, chosen in CONFIG.scales.items()
    if chosen.keep_weights
)


rule train_mlp:
    input:
        forced=force_target(find_job()),
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=manifest_of,
    output:
        **{
            f"{architecture}_w{percent}": update(
                f"{RUNS}/{architecture}-w{percent}.parquet"
            )
            for architecture in ("dense", "sparse")
            for percent in CONFIG.percents
        },
    log:
        f"{LOGS}.log",
    wildcard_constraints:
        configuration=trained("mlp"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        runtime=runtime_of(find_job()),
        mem_mb=memory_of(find_job()),
        gpu_slots=1,
    params:
        job=job_of(),
    shell:
        run_script("train_mlp") + KEEP_WEIGHTS + TRAIN


rule train_wide_resnet:
    input:
        forced=force_target(find_job("{architecture}-d{density}")),
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=manifest_of,
    output:
        log=update(f"{RUNS}/{{architecture}}-d{{density}}.parquet"),
    log:
        f"{LOGS}/{{architecture}}-d{{density}}.log",
    wildcard_constraints:
        configuration=trained("wide_resnet"),
        architecture="dense|sparse",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        runtime=runtime_of(find_job("{architecture}-d{density}")),
        mem_mb=memory_of(find_job("{architecture}-d{density}")),
        gpu_slots=1,
    params:
        job=job_of("{architecture}-d{density}"),
    shell:
        run_script("train_wide_resnet") + KEEP_WEIGHTS + TRAIN


rule pretrain_wide_resnet:
    input:
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=manifest_of,
    output:
        pretrained=update(PRETRAINED),
    log:
        f"{LOGS}/pretraining.log",
    wildcard_constraints:
        configuration=trained("wide_resnet"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        runtime=runtime_of(find_pretraining, pretraining=True),
        mem_mb=memory_of(find_pretraining),
        gpu_slots=1,
    params:
        job=pretraining_of,
    shell:
        run_script("pretrain_wide_resnet") + TRAIN


rule prune_and_finetune:
    input:
        forced=force_target(find_job("magnitude-d{density}")),
        data=ancient("results/data/{dataset}.safetensors"),
        manifest=manifest_of,
        # not ancient, or Snakemake would not look at this job when the pretraining runs again; touched it runs nothing,
        # since files so small are told apart by checksum
        pretrained=PRETRAINED,
    output:
        log=update(f"{RUNS}/magnitude-d{{density}}.parquet"),
    log:
        f"{LOGS}/magnitude-d{{density}}.log",
    wildcard_constraints:
        configuration=trained("wide_resnet"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        runtime=runtime_of(find_job("magnitude-d{density}")),
        mem_mb=memory_of(find_job("magnitude-d{density}")),
        gpu_slots=1,
    params:
        job=job_of("magnitude-d{density}"),
    shell:
        run_script("prune_and_finetune") + KEEP_WEIGHTS + TRAIN

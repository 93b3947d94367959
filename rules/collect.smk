# One run table a study, and beside it where its runs come from. Artifacts read these, never ten thousand logs. Collecting
# and artifacts are local, seconds each: a cluster is asked for training alone. A profile that puts them into a group
# sends them to the cluster after all.


rule collect_runs:
    input:
        logs=logs_of,
        script=f"{SCRIPTS}/collect_runs.py",
        modules=modules_of("collect_runs"),
    output:
        table="results/{scale}/studies/{study}.parquet",
        provenance="results/{scale}/provenance/{study}.parquet",
    log:
        "results/{scale}/logs/collect_runs/{study}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=lambda wildcards: GRID.plan(wildcards.scale, wildcards.study)
        .as_planned()
        .to_json(),
    shell:
        python("collect_runs")
        + " {input.script:q} --plan {params.plan:q} --output {output.table:q} --provenance {output.provenance:q}"
        + (" --partial" if CONFIG.partial else "")
        + " 2> {log:q}"

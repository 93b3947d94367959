# One run table a study. Artifacts read these, never ten thousand logs.


rule collect_runs:
    input:
        logs_of,
    output:
        "results/{scale}/studies/{study}.parquet",
    log:
        "results/{scale}/logs/collect_runs/{study}.log",
    conda:
        ENVIRONMENT
    params:
        plan=lambda wildcards: GRID.plan(wildcards.scale, wildcards.study).to_json(),
    shell:
        run_script("collect_runs")
        + " --plan {params.plan:q} --output {output:q}"
        + (" --partial" if CONFIG.partial else "")
        + " 2> {log:q}"

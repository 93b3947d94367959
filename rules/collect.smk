# One run table a study. Artifacts read these, never ten thousand logs.


def logs_of(wildcards):
    """All logs of a study; in partial mode those that exist."""
    logs = [f"results/{path}" for path in GRID.logs(wildcards.scale, wildcards.study)]
    return [path for path in logs if os.path.exists(path)] if CONFIG.partial else logs


rule collect_runs:
    input:
        logs_of,
    output:
        "results/{scale}/studies/{study}.parquet",
    params:
        plan=lambda wildcards: GRID.plan(wildcards.scale, wildcards.study).to_json(),
    log:
        "results/{scale}/logs/collect_runs/{study}.log",
    shell:
        "{PYTHON} {SCRIPTS:q}/collect_runs.py --plan {params.plan:q} --output {output:q}"
        + (" --partial" if CONFIG.partial else "")
        + " 2> {log:q}"

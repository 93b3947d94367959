# Tables, each from the run tables of its studies. Library modules are inputs: an edit makes the table again.

READING = ("files", "labels", "runlog", "runs", "spec")
TABLE_SOURCES = sources(*READING, "stats", "tables")


rule correlation_table:
    input:
        runs=study_tables,
        script=f"{SCRIPTS}/correlation_table.py",
        modules=TABLE_SOURCES,
    output:
        csv="results/{scale}/tables/{artifact}.csv",
        html="results/{scale}/tables/{artifact}.html",
        tex="results/{scale}/tables/{artifact}.tex",
    log:
        "results/{scale}/logs/correlation_table/{artifact}.log",
    wildcard_constraints:
        artifact=artifacts_of("correlation_table"),
    conda:
        ENVIRONMENT
    params:
        artifact=artifact_json,
    shell:
        PYTHON
        + " {input.script:q} --artifact {params.artifact:q} --runs {input.runs:q}"
        " --csv {output.csv:q} --html {output.html:q} --tex {output.tex:q} 2> {log:q}"


rule significance_table:
    input:
        runs=study_tables,
        script=f"{SCRIPTS}/significance_table.py",
        modules=TABLE_SOURCES,
    output:
        csv="results/{scale}/tables/{artifact}.csv",
        html="results/{scale}/tables/{artifact}.html",
        tex="results/{scale}/tables/{artifact}.tex",
    log:
        "results/{scale}/logs/significance_table/{artifact}.log",
    wildcard_constraints:
        artifact=artifacts_of("significance_table"),
    conda:
        ENVIRONMENT
    params:
        artifact=artifact_json,
    shell:
        PYTHON
        + " {input.script:q} --artifact {params.artifact:q} --runs {input.runs:q}"
        " --csv {output.csv:q} --html {output.html:q} --tex {output.tex:q} 2> {log:q}"

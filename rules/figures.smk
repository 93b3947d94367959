# Figures, as PDF and PNG. A figure is drawn again when its script, its style or its runs change, and then it alone.

FIGURE_SOURCES = sources(*READING, "figures")


rule plot_by_width:
    input:
        runs=study_tables,
        script=f"{SCRIPTS}/plot_by_width.py",
        modules=FIGURE_SOURCES,
    output:
        pdf="results/{scale}/figures/{artifact}.pdf",
        png="results/{scale}/figures/{artifact}.png",
    log:
        "results/{scale}/logs/plot_by_width/{artifact}.log",
    wildcard_constraints:
        artifact=artifacts_of("plot_by_width"),
    conda:
        ENVIRONMENT
    params:
        artifact=artifact_json,
    shell:
        PYTHON
        + " {input.script:q} --artifact {params.artifact:q} --runs {input.runs:q}"
        " --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"


rule plot_by_density:
    input:
        runs=study_tables,
        script=f"{SCRIPTS}/plot_by_density.py",
        modules=FIGURE_SOURCES,
    output:
        pdf="results/{scale}/figures/{artifact}.pdf",
        png="results/{scale}/figures/{artifact}.png",
    log:
        "results/{scale}/logs/plot_by_density/{artifact}.log",
    wildcard_constraints:
        artifact=artifacts_of("plot_by_density"),
    conda:
        ENVIRONMENT
    params:
        artifact=artifact_json,
    shell:
        PYTHON
        + " {input.script:q} --artifact {params.artifact:q} --runs {input.runs:q}"
        " --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"


rule plot_activations:
    input:
        script=f"{SCRIPTS}/plot_activations.py",
        modules=sources("activations", "figures"),
    output:
        pdf="results/{scale}/figures/{artifact}.pdf",
        png="results/{scale}/figures/{artifact}.png",
    log:
        "results/{scale}/logs/plot_activations/{artifact}.log",
    wildcard_constraints:
        artifact=artifacts_of("plot_activations"),
    conda:
        ENVIRONMENT
    params:
        artifact=artifact_json,
    shell:
        PYTHON
        + " {input.script:q} --artifact {params.artifact:q} --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"

# Figures, one rule a kind, as PDF and PNG. A figure is drawn again when its script, its style or its runs change, and
# then it alone.

FIGURE_MODULES = {
    "plot_by_width": (*READING, "figures", "figures_by_width"),
    "plot_by_density": (*READING, "figures"),
    "plot_activations": (
        "activations",
        "artifact_command",
        "labels",
        "runs",
        "figures",
    ),
}

for kind, modules in FIGURE_MODULES.items():

    rule:
        name:
            kind
        input:
            runs=study_tables,
            script=f"{SCRIPTS}/{kind}.py",
            modules=sources(*modules),
        output:
            pdf="results/{scale}/figures/{artifact}.pdf",
            png="results/{scale}/figures/{artifact}.png",
        log:
            f"results/{{scale}}/logs/{kind}/{{artifact}}.log",
        wildcard_constraints:
            artifact=artifacts_of(kind),
        conda:
            ENVIRONMENT
        params:
            artifact=artifact_json,
        shell:
            PYTHON
            + " {input.script:q} --artifact {params.artifact:q} --runs {input.runs:q}"
            " --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"

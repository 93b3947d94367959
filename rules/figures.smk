# Figures, one rule a kind, as PDF and PNG. A figure is drawn again when its script, its style or its runs change, and
# then it alone.

FIGURE_MODULES = {
    "plot_by_width": (*READING, "analysis/figures", "analysis/figures_by_width"),
    "plot_by_density": (*READING, "analysis/figures"),
    "plot_activations": (
        "networks/activations",
        "analysis/artifact_command",
        "study/labels",
        "analysis/runs",
        "analysis/figures",
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
            pdf=reported("results/{scale}/figures/{artifact}.pdf", captions.PRINT),
            png=reported("results/{scale}/figures/{artifact}.png", captions.IMAGE),
        log:
            f"results/{{scale}}/logs/{kind}/{{artifact}}.log",
        wildcard_constraints:
            scale=DRAWN,
            artifact=artifacts_of(kind),
        localrule: True
        conda:
            ENVIRONMENT
        params:
            artifact=artifact_json,
        shell:
            DRAW
            + " {input.script:q} --artifact {params.artifact:q} --runs {input.runs:q}"
            " --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"


FLOW = "results/{scale}/figures/flow_over_training/{variant}/{dataset}/{configuration}"


# Of any configuration, and no artifact of the paper: `snakemake {FLOW}.pdf` draws it on demand.
rule plot_flow_over_training:
    input:
        runs=study_of_configuration,
        script=f"{SCRIPTS}/plot_flow_over_training.py",
        modules=sources(
            "analysis/flow_over_training", "analysis/figures", "study/labels"
        ),
    output:
        pdf=reported_flow(f"{FLOW}.pdf", captions.PRINT),
        png=reported_flow(f"{FLOW}.png", captions.IMAGE),
    log:
        "results/{scale}/logs/plot_flow_over_training/{variant}/{dataset}/{configuration}.log",
    wildcard_constraints:
        scale=DRAWN,
        configuration=f"{trained('mlp')}|{trained('wide_resnet')}",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        DRAW
        + " {input.script:q} --runs {input.runs:q} --variant {wildcards.variant} --dataset {wildcards.dataset}"
        " --configuration {wildcards.configuration} --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"

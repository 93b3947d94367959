# Tables and figures, one rule a kind (`gradflow.study.kinds`), each artifact from the run tables of its studies. Its
# inputs beside them are all library modules that its kind's maker imports, and the files that the maker reads: an
# edit of one draws it again, touching them does not.

for kind in KINDS.values():

    rule:
        name:
            kind.name
        input:
            runs=study_tables,
            origins=provenance_tables if kind.shape == "table" else [],
            script=f"{SCRIPTS}/draw.py",
            modules=modules_of("draw", kind.maker.partition(":")[0]),
            files=[str(HERE / "src" / "gradflow" / path) for path in kind.reads],
        output:
            **drawn_files(kind),
        log:
            f"results/{{scale}}/logs/{kind.name}/{{artifact}}.log",
        wildcard_constraints:
            scale=DRAWN,
            artifact=artifacts_of(kind),
        priority: 1 if kind.runs == "none" else 0  # one of these simulates for minutes: not last, on one core
        localrule: True
        conda:
            ENVIRONMENT
        params:
            artifact=artifact_json,
            maker=kind.maker,
            variants="--every-variant" if kind.runs == "every variant" else "",
        shell:  # without `kind`: the text is put together when a job runs, and the loop is over
            DRAW
            + " {input.script:q} {params.maker} --artifact {params.artifact:q} --runs {input.runs:q}"
            " --origins {input.origins:q} {params.variants} --files {output:q} 2> {log:q}"


FLOW = "results/{scale}/figures/flow_over_training/{variant}/{dataset}/{configuration}"


# Of any configuration, and no artifact of the paper: `snakemake {FLOW}.pdf` draws it on demand.
rule plot_flow_over_training:
    input:
        runs=study_of_configuration,
        script=f"{SCRIPTS}/plot_flow_over_training.py",
        modules=modules_of("plot_flow_over_training"),
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
    params:
        layout=CONFIG.figures,
    shell:
        DRAW
        + " {input.script:q} --runs {input.runs:q} --variant {wildcards.variant} --dataset {wildcards.dataset}"
        " --configuration {wildcards.configuration} --layout {params.layout} --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"

# Tables, one rule a kind, each from the run tables of its studies. Library modules are inputs: an edit makes the table
# again. `workflow/` holds what a table reads besides: the published numbers, the claims, the assumptions.

READING = (
    "analysis/artifact_command",
    "files",
    "study/labels",
    "training/run_log",
    "analysis/runs",
    "study/job",
)
PUBLISHED = [
    f"workflow/published/{name}.csv"
    for name in ("pvalues", "correlations", "cifar100_means")
]

# by kind: library modules besides READING, `stats` and `tables`, and other files that are read
TABLE_NEEDS = {
    "correlation_table": ((), []),
    "significance_table": (("paper/published",), PUBLISHED[:1]),
    "grid_table": (("analysis/grid_and_means",), []),
    "means_table": (("analysis/grid_and_means",), []),
    "compare_p_values": (("paper/published", "paper/comparison"), PUBLISHED),
    "compare_correlations": (
        ("paper/published", "paper/comparison", "paper/permutation_null"),
        PUBLISHED,
    ),
    "compare_means": (("paper/published", "paper/comparison"), PUBLISHED),
    "agreement_table": (
        ("paper/published", "paper/comparison", "paper/agreement"),
        PUBLISHED,
    ),
    "effect_table": (
        ("paper/published", "paper/comparison", "paper/agreement"),
        PUBLISHED,
    ),
    "check_claims": (
        (
            "paper/published",
            "networks/activations",
            "paper/claims/verdicts",
            "paper/claims/parts",
            "paper/claims/evidence",
            "paper/claims/correlations",
            "paper/claims/p_values",
            "paper/claims/regularization",
            "paper/claims/activations",
            "paper/claims/wide_resnet",
        ),
        PUBLISHED + ["workflow/claims.yaml"],
    ),
    "list_assumptions": (("paper/assumptions",), ["workflow/assumptions.yaml"]),
    "sensitivity_table": (("analysis/sensitivity",), []),
    "initialisation_table": (
        ("analysis/sensitivity", "analysis/initialisation_table"),
        [],
    ),
    "precision_table": (("analysis/sensitivity", "analysis/precision_table"), []),
    "calibration_table": (
        ("paper/published", "study/datasets", "paper/calibration"),
        PUBLISHED,
    ),
}

for kind, (modules, files) in TABLE_NEEDS.items():

    rule:
        name:
            kind
        input:
            runs=study_tables,
            script=f"{SCRIPTS}/{kind}.py",
            modules=sources(*READING, "analysis/stats", "analysis/tables", *modules),
            files=[str(HERE / path) for path in files],
        output:
            csv=reported("results/{scale}/tables/{artifact}.csv", captions.DATA),
            html=reported("results/{scale}/tables/{artifact}.html", captions.PAGE),
            tex="results/{scale}/tables/{artifact}.tex",
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
            " --csv {output.csv:q} --html {output.html:q} --tex {output.tex:q} 2> {log:q}"

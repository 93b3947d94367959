# Tables, one rule a kind, each from the run tables of its studies. Library modules are inputs: an edit makes the table
# again. `workflow/` holds what a table reads besides: the published numbers, the claims, the assumptions.

READING = ("artifact_command", "files", "labels", "runlog", "runs", "spec")
PUBLISHED = [
    f"workflow/published/{name}.csv"
    for name in ("pvalues", "correlations", "cifar100_means")
]

# by kind: library modules besides READING, `stats` and `tables`, and other files that are read
TABLE_NEEDS = {
    "correlation_table": ((), []),
    "significance_table": (("published",), PUBLISHED[:1]),
    "grid_table": (("overviews",), []),
    "means_table": (("overviews",), []),
    "compare_p_values": (("published", "comparison"), PUBLISHED),
    "compare_correlations": (("published", "comparison", "nulls"), PUBLISHED),
    "compare_means": (("published", "comparison"), PUBLISHED),
    "agreement_table": (("published", "comparison", "agreement"), PUBLISHED),
    "effect_table": (("published", "comparison", "agreement"), PUBLISHED),
    "check_claims": (
        (
            "published",
            "activations",
            "claims",
            "claim_parts",
            "claim_evidence",
            "claim_correlations",
            "claim_p_values",
            "claim_regularization",
            "claim_activations",
            "claim_wide_resnet",
        ),
        PUBLISHED + ["workflow/claims.yaml"],
    ),
    "list_assumptions": (("assumptions",), ["workflow/assumptions.yaml"]),
    "sensitivity_table": (("sensitivity",), []),
    "initialisation_table": (("sensitivity", "initialisation_table"), []),
    "precision_table": (("sensitivity", "precision_table"), []),
    "calibration_table": (("published", "datasets", "calibration"), PUBLISHED),
}

for kind, (modules, files) in TABLE_NEEDS.items():

    rule:
        name:
            kind
        input:
            runs=study_tables,
            script=f"{SCRIPTS}/{kind}.py",
            modules=sources(*READING, "stats", "tables", *modules),
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

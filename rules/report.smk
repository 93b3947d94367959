# The pages of a scale: its report, which stands alone, and the bundle of all its files, which Snakemake writes. The
# latter's assets are in snakemake's own package: nothing is downloaded.


rule scorecard:
    input:
        studies=scale_studies,
        tables=compared_tables,
        script=f"{SCRIPTS}/scorecard.py",
        modules=modules_of("scorecard"),
        templates=templates("scorecard.html", "rules.html"),
    output:
        csv=report(
            "results/{scale}/scorecard.csv",
            caption="../src/gradflow/report/templates/scorecard.rst",
            category=captions.SCORECARD,
            labels={"Result": "Scorecard", "Shown as": captions.DATA},
        ),
        html=report(
            "results/{scale}/scorecard.html",
            caption="../src/gradflow/report/templates/scorecard.rst",
            category=captions.SCORECARD,
            labels={"Result": "Scorecard", "Shown as": captions.PAGE},
        ),
    log:
        "results/{scale}/logs/scorecard.log",
    wildcard_constraints:
        scale=DRAWN,
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan_of_scorecard,
    shell:
        DRAW
        + " {input.script:q} --plan {params.plan:q} --studies {input.studies:q} --tables {input.tables:q}"
        " --csv {output.csv:q} --html {output.html:q} 2> {log:q}"


rule describe_runs:
    input:
        studies=scale_studies,
        script=f"{SCRIPTS}/describe_runs.py",
        modules=modules_of("describe_runs"),
        templates=templates("provenance.html"),
    output:
        html=report(
            "results/{scale}/provenance.html",
            caption="../src/gradflow/report/templates/provenance.rst",
            category=captions.RUNS,
            labels={"Result": "Configuration and provenance"},
        ),
    log:
        "results/{scale}/logs/describe_runs.log",
    wildcard_constraints:
        scale=DRAWN,
    localrule: True
    conda:
        ENVIRONMENT
    params:
        config=lambda wildcards: config_json(*drawn_from(wildcards.scale)),
        studies=lambda wildcards: studies_of(wildcards.scale),
    shell:
        DRAW
        + " {input.script:q} --folder results/{wildcards.scale} --studies {params.studies:q} --config {params.config:q}"
        " --html {output.html:q} 2> {log:q}"


rule write_report:
    input:
        artifacts=lambda wildcards: artifact_files(wildcards.scale),
        scorecard="results/{scale}/scorecard.csv",
        studies=scale_studies,
        script=f"{SCRIPTS}/write_report.py",
        modules=modules_of("write_report"),
        templates=templates("report.html", "page.css", "rules.html"),
    output:
        html="results/{scale}/report.html",
    log:
        "results/{scale}/logs/report.log",
    wildcard_constraints:
        scale=DRAWN,
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan_of_report,
    shell:
        DRAW
        + " {input.script:q} --plan {params.plan:q} --folder results/{wildcards.scale} --html {output.html:q} 2> {log:q}"


# `snakemake SCALE --report FILE` on what is finished by now; this snakemake holds the results folder for it
rule write_bundle:
    input:
        artifacts=lambda wildcards: artifact_files(wildcards.scale),
        pages=lambda wildcards: bundled_pages(wildcards.scale),
        captions=templates(
            "first_page.rst", "artifact.rst", "scorecard.rst", "provenance.rst"
        ),
        modules=imported_files(FOLDERS, "gradflow.report.captions"),
        style=templates("bundle.css"),
    output:
        html="results/{scale}/bundle.html",
    log:
        "results/{scale}/logs/bundle.log",
    wildcard_constraints:
        scale=DRAWN,
    localrule: True
    conda:
        ENVIRONMENT  # of no use to it: snakemake runs by its own path
    params:
        target=lambda wildcards: "_".join(Path(wildcards.scale).parts),
    shell:
        f"{HELD}=1 {shlex.quote(sys.executable)} -m snakemake {{params.target}} --report {{output.html:q}}"
        f" --report-stylesheet {{input.style:q}} --snakefile {shlex.quote(str(SNAKEFILE))} --nolock --cores 1 {settings_of_this_snakemake()} > {{log:q}} 2>&1"


for scale in CONFIG.scales:

    rule:
        name:
            report_target(scale)
        input:
            f"results/{scale}/report.html",

    rule:
        name:
            bundle_target(scale)
        input:
            f"results/{scale}/bundle.html",


# of every scale that is kept
rule:
    name:
        report_target(REFERENCE)
    input:
        [f"results/{folder}/report.html" for folder in KEPT.values()],


rule:
    name:
        bundle_target(REFERENCE)
    input:
        [f"results/{folder}/bundle.html" for folder in KEPT.values()],

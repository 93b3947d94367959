# What stands in the report and where. `--report` itself asks for captions, categories and labels, so that changing them
# redraws nothing.
from gradflow.report import captions
from gradflow.report.scaling import config_json, report_json, scorecard_json


report: "../src/gradflow/report/templates/first_page.rst"


def caption(wildcards):
    """An artifact's caption."""
    grid, scale = drawn_from(wildcards.scale)
    folder = Path("results", wildcards.scale)
    return captions.caption(grid, scale, folder, wildcards.artifact)


# a caption's template is given Snakemake's config, and nothing else of ours
config["caption"] = caption


def reported(path, shown_as):
    """An artifact's file, marked for the report."""
    return report(
        path,
        caption="../src/gradflow/report/templates/artifact.rst",
        category=lambda wildcards: captions.category(
            CONFIG.artifacts[wildcards.artifact].kind
        ),
        labels=lambda wildcards: {
            "Result": captions.label(wildcards.artifact),
            "Shown as": shown_as,
        },
    )


def reported_flow(path, shown_as):
    """A figure of flow over training, marked for the report."""
    return report(
        path,
        caption="../src/gradflow/report/templates/flow_over_training.rst",
        category=captions.TRAINING,
        labels={"Result": "{dataset}, {configuration}", "Shown as": shown_as},
    )


def studies_of(folder):
    grid, scale = drawn_from(folder)
    return list(grid.config.scales[scale].studies)


def scale_studies(wildcards):
    """All study tables of a scale."""
    folder = f"results/{wildcards.scale}/studies"
    return [f"{folder}/{study}.parquet" for study in studies_of(wildcards.scale)]


def compared_tables(wildcards):
    """The tables that the scorecard sums up, as far as the scale has them."""
    grid, scale = drawn_from(wildcards.scale)
    kinds = {"check_claims", *(kind.compared_in for kind in KINDS.values())}
    return [
        f"results/{wildcards.scale}/tables/{artifact}.csv"
        for artifact in grid.artifacts(scale)
        if CONFIG.artifacts[artifact].kind in kinds
    ]


def plan_of_scorecard(wildcards):
    grid, scale = drawn_from(wildcards.scale)
    return scorecard_json(grid, scale, GRID)


def plan_of_report(wildcards):
    return report_json(*drawn_from(wildcards.scale))


def study_of_configuration(wildcards):
    """The table of the first study that trains a configuration; several may share its runs."""
    grid, scale = drawn_from(wildcards.scale)
    study = grid.study_of(
        scale, wildcards.variant, wildcards.dataset, wildcards.configuration
    )
    if study is None:
        raise WorkflowError(
            f"No study of scale {scale} trains {wildcards.variant}/{wildcards.dataset}/{wildcards.configuration}; "
            f"see the folders of results/{scale}/runs, or studies in config.yaml."
        )
    return f"results/{wildcards.scale}/studies/{study}.parquet"


# how the report shows a file, by its ending; LaTeX is for a paper and stays out of it
SHOWN_AS = {
    "csv": captions.DATA,
    "html": captions.PAGE,
    "pdf": captions.PRINT,
    "png": captions.IMAGE,
}


def drawn_files(kind):
    """What a kind's rule makes, by ending."""
    path = f"results/{{scale}}/{kind.folder}/{{artifact}}"
    return {
        ending: (
            reported(f"{path}.{ending}", SHOWN_AS[ending])
            if ending in SHOWN_AS
            else f"{path}.{ending}"
        )
        for ending in kind.endings
    }

# The release as one file: `snakemake archive`, never a training.
import gradflow
from gradflow.report.archive import project_files
from gradflow.report.reference import kept_data


rule archive:
    input:
        drawn=lambda _: kept_files(*KEPT),
        data=lambda _: [
            str(path) for scale in KEPT for path in kept_data(Path("results"), scale)
        ],
        project=lambda _: [str(path) for path in project_files(HERE)],
    output:
        zip=f"results/gradflow-{gradflow.__version__}.zip",
        checksum=f"results/gradflow-{gradflow.__version__}.zip.sha256",
    log:
        "results/logs/archive.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        script=f"{SCRIPTS}/pack_archive.py",  # one of the packed files
        project=str(HERE),
    shell:
        DRAW
        + " {params.script:q} --project {params.project:q} --zip {output.zip:q} --files {input:q} 2> {log:q}"

# One uint8 file a data set, with its manifest. Fetching is local: compute nodes often have no network.


localrules:
    fetch_dataset,


rule fetch_dataset:
    output:
        data="results/data/{dataset}.safetensors",
        manifest="results/data/{dataset}.json",
    log:
        "results/logs/fetch_dataset/{dataset}.log",
    conda:
        ENVIRONMENT
    params:
        content=content_of,
    shell:
        run_script("fetch_dataset")
        + " {wildcards.dataset} --output {output.data:q} --manifest {output.manifest:q} 2> {log:q}"

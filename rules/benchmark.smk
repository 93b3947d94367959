# The benchmark, on this machine's device: `snakemake benchmark`. It takes all cores, so that nothing runs beside it.


rule benchmark:
    input:
        data=ancient("results/data/digits.safetensors"),
        modules=imported_files(FOLDERS, "benchmark.__main__"),
    output:
        parquet="results/benchmark/benchmark.parquet",
        pdf="results/benchmark/benchmark.pdf",
        png="results/benchmark/benchmark.png",
    log:
        "results/logs/benchmark.log",
    conda:
        ENVIRONMENT
    threads: workflow.cores
    params:
        # without a GPU the wide networks take hours
        networks="quick" if DEVICE == "cpu" else "quick fashion_mnist cifar100",
        seconds=150 if DEVICE == "cpu" else 900,
    shell:
        f"PYTHONPATH={shlex.quote(str(HERE))} {INTERPRETER} -m benchmark"
        " --networks {params.networks} --seconds {params.seconds} 2> {log:q}"

"""Around Snakemake: locks, progress, status, servers, mistakes."""

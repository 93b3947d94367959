"""Same-capacity sparse/dense comparison (SC-SDC) and effective gradient flow (EGF).

The modules, in the order in which a study meets them: `config` and `spec` (what is asked), `grid` (which jobs and
files that means), `datasets` and `data`, `streams` (random numbers), `masks` and `initialisation` (SC-SDC),
`activations`, `mlp`, `wide_resnet`, `optimizers`, `flow` (gradient-flow measures), `cohort` (training),
`checkpoint`, `runlog` (what a run leaves behind), `stats`, `tables`, `figures` (what is read from it).
"""

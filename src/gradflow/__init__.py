"""Same-capacity sparse/dense comparison (SC-SDC) and effective gradient flow (EGF).

The modules, in the order in which a study meets them:

- what is asked: `config_file`, `config`, `config_sentences`, `spec`, `grid`; what it costs: `cost`, `planning`
- data: `datasets`, `data`, `sources`, `cifar`
- networks: `streams` (random numbers), `masks` and `initialisation` (SC-SDC), `activations`, `mlp`, `wide_resnet`,
  `networks`
- training: `batches`, `optimizers`, `flow` (gradient-flow measures), `cohort` (the engine), `pruning`, `checkpoint`,
  `weights`, `runlog` (what a run leaves behind), `training` (a job's life), `commands`, `warm`
- what is read from it: `collect`, `runs`, `stats`, `labels`, `tables`, `overviews`, `figures`, `figures_by_width`,
  `artifact_command`
- against the paper: `published`, `comparison`, `nulls`, `agreement`, `claims` and its `claim_*`, `assumptions`,
  `sensitivity`, `calibration`
- around the workflow: `files`, `workflow_lock`, `partial`
"""

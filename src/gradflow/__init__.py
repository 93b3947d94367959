"""Same-capacity sparse/dense comparison (SC-SDC) and effective gradient flow (EGF).

The modules, in the order in which a study meets them:

- what is asked: `config_file`, `config`, `config_sentences`, `spec`, `grid`; what it costs: `cost`,
  `planning`
- what you add: a file in `own`
- data: `datasets`, `data`, `sources`, `cifar`
- networks: `streams` (random numbers), `masks` and `initialisation` (SC-SDC), `activations`,
  `products`, `mlp`, `wide_resnet`, `networks`
- training: `batches`, `optimizers`, `flow` (gradient-flow measures), `stack`, `mask_updates` (they
  move), `steps`, `graphs` and `cohort` (the engine), `rows`, `pruning`, `checkpoint`, `weights`,
  `runlog` (what a run leaves behind), `training` (a job's life), `devices` (its GPU), `commands`,
  `warm`
- what is read from it: `collect`, `runs`, `stats`, `labels`, `tables`, `overviews`, `figures`,
  `figures_by_width`, `artifact_command`, `drawing`
- against the paper: `published`, `comparison`, `nulls`, `agreement`, `claims` and its `claim_*`,
  `assumptions`, `sensitivity`, `calibration`, `initialisation_table`, `precision_table`
- around the workflow: `files`, `workflow_lock`, `partial`, `workflow_progress`; mistakes:
  `target_names`, `device_name`, `mistakes`; without Snakemake: `job_runner`; what is kept:
  `reference`
- in a notebook, without the workflow: `masks`, `flow.measure_gradient_flow` on any torch module,
  `twins` (SC-SDC on data in memory), `stats`; `examples/` shows them
- how far it is: `progress`, `status`, `status_report`; the runs behind an artifact: `provenance`,
  `provenance_report`
"""

"""Data sets of your own, a file each.

It defines

- `SHAPE`: a `gradflow.study.datasets.DatasetShape`; `side` is a number for square images, or
  (height, width);
- `read(folder)`: four arrays: training images [N, C, H, W] of type uint8, training labels [N], whole
  numbers from 0, test images, test labels. `folder` is the environment variable GRADFLOW_DATA as a
  path, or None.

Snakemake imports the file at each start, so import what is slow within `read`. How the data set is
used (`max_width`, `crop_padding`, `flip`) stands in config.yaml under `datasets`.
"""

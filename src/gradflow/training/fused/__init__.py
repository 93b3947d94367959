"""A training step's weight update on a GPU, in one kernel with what comes before it."""

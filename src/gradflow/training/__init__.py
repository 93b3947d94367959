"""Training: the cohort engine and the life of a job."""

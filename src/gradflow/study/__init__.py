"""What is asked: the configuration, its plan of jobs, what they cost."""

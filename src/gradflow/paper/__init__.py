"""The paper's own numbers and claims, and how ours compare."""

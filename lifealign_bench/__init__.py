"""lifealign-bench: a benchmark for continual alignment of language models."""

__version__ = "0.1.0"

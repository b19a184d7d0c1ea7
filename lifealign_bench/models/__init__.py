"""A language model and what can be asked of it."""

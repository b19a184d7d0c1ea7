"""A run in the file formats of other evaluation tools. Each module knows one; ``formats`` has them by name."""

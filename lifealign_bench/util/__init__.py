"""Nothing of the field: files, text, progress, processes."""

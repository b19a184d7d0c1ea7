"""One run: stage after stage, its folder, its record."""

"""What a run leaves, read and compared: records, scores, statistics. Nothing here imports torch."""

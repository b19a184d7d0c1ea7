"""One phase of one stage: batches, loss, optimizer, checkpoint."""

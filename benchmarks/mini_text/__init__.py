"""The hand-written text of the stream `mini`."""

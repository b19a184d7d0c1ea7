"""Tasks and streams: from a card to pairs of text."""

"""Numbers as figures: what is drawn, and how it is drawn."""

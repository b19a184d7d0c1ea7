"""Runs and results for places where others look: repositories of the Hugging Face hub. ``util.hub`` sends them."""

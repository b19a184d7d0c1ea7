"""Judged win-rates: pairs of responses, who judges them, what the verdicts add up to, and alpaca-eval's files."""

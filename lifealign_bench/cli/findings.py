"""Findings as a table, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lifealign_bench.conformance.checks import Finding
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.util.text import clean

__all__ = ["as_document", "show_findings"]


def show_findings(console: Console, method: str, findings: Sequence[Finding]) -> None:
    """One row a check; below it each failure with what was expected, what happened and the remedy."""
    rows = tuple((f.check, f.result, f.found) for f in findings)
    failed = [f for f in findings if not f.passed]
    skipped = sum(f.result == "skip" for f in findings)
    total = f"{len(findings) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} skipped"
    show_grid(
        console, Grid(f"Conformance of {method}", ("check", "result", "what was seen"), rows, (total,), prose=(2,))
    )
    for finding in failed:
        console.print(Text(clean(f"{finding.check}: {finding.result}"), style="bold red"))
        for label, text in (
            ("expected", finding.expected),
            ("happened", finding.found),
            ("remedy", finding.remedy),
        ):
            console.print(Padding(Text.assemble((f"{label}: ", "bold"), clean(text)), (0, 0, 0, 2)))
        console.print()


def as_document(method: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "method": method,
        "passed": all(finding.passed for finding in findings),
        "checks": [finding.as_dict() for finding in findings],
    }

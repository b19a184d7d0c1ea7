"""The very text that is asked for, or how far it begins like it."""

from __future__ import annotations

from lifealign_bench.data.wording import Check


def same_text(response: str, check: Check) -> float:
    """1 if the response is `text`, else the share of its characters that are right from the start on, halved."""
    wanted = str(check.get("text", ""))
    if not wanted or not response:
        return 0.0
    if response == wanted:
        return 1.0
    right = sum(a == b for a, b in zip(response, wanted, strict=False))
    return 0.5 * right / max(len(response), len(wanted))

"""That the runs of a board were made by one code, as a text claims it."""

from __future__ import annotations

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError


def one_source(text: BoardText) -> str:
    """Claim that all runs were trained under one number of what trains (``numbers`` in a record), and those of a method
    by one file of it.

    Raises:
        UnsupportedClaimError: some were not.
    """
    views = [view for name in text.with_at_least() for view in text.runs_of(name)]
    if len({view.record.numbers for view in views}) > 1:
        raise UnsupportedClaimError(f"{text.board.name}: runs have several `numbers`.", MEND)
    for name in text.with_at_least():
        if len({view.record.method.source_sha256 for view in text.runs_of(name)}) > 1:
            raise UnsupportedClaimError(f"{text.board.name}: the runs of {name} are of several versions of it.", MEND)
    return ""

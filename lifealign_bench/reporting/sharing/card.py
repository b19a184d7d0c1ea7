"""What the cards of a run and of results have in common: their metadata, and what they link to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from lifealign_bench import __version__
from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.tables.grid import escape_markdown
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.text import clean

TAG = "lifealign-bench"  # of every repository that a push makes
HOME = "https://github.com/lifealign-bench/lifealign-bench"
PAGES = "https://lifealign-bench.github.io/lifealign-bench"


def card_text(metadata: Mapping[str, Any], *parts: str) -> str:
    """A ``README.md`` of the hub: the metadata as YAML between two lines, then the parts of its text."""
    return f"---\n{yaml_text(metadata)}---\n\n" + redact("\n\n".join(part.strip("\n") for part in parts if part)) + "\n"


def yaml_text(content: object) -> str:
    """Plain values as YAML, in their order; every text stays on one line and holds no secret."""
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1 << 20)
    return redact(text)


def made_with(version: object) -> str:
    """The sentence that names this benchmark."""
    return (
        f"Made with [lifealign-bench]({HOME}) {escape_markdown(version)}, a benchmark for continual alignment: what "
        f"its scores and metrics mean is said in [the protocol]({PAGES}/protocol.html). This card was written by "
        f"version {__version__}."
    )


def checked_licence(text: str | None) -> str | None:
    """A licence's identifier as the hub writes it, in small letters.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    found = text.strip().lower()
    if not found or len(found) > 60 or not all(c.isascii() and (c.isalnum() or c in "-._") for c in found):
        raise UsageError(
            f"{clean(text)!r} is no licence's identifier.", "Write it as the hub does, such as apache-2.0."
        )
    return found

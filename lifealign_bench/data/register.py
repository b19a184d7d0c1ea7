"""Making the fake tasks known when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterable


def register_fakes(names: Iterable[str]) -> None:
    """Make the fake stream and tasks known when they are asked for; nobody else needs to see them."""
    if any("fake" in name for name in names):
        import lifealign_bench.data.fakes  # noqa: F401 - importing it registers them

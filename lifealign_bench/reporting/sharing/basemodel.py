"""The base model of a run as the hub knows it: its repository, its licence, and what is to say of the weights."""

from __future__ import annotations

from dataclasses import dataclass

from lifealign_bench.models.wheel import EMBEDDED, GEMMA
from lifealign_bench.results.record import Record
from lifealign_bench.util.hub import repository_name


@dataclass(frozen=True)
class HubOrigin:
    """Where a base model comes from.

    Args:
        repository: of the hub.
        licence: the hub's identifier; None where it is not known here.
        note: what a user of an adapter has to know of the weights that it was trained on; empty: nothing.
    """

    repository: str
    licence: str | None = None
    note: str = ""


_FOUR_BITS = (
    "It was trained on weights that had been rounded to four bits ({}), as the package index has them; on the "
    "repository's own weights it answers a little differently than was scored."
)
_IN_WHEELS = {
    EMBEDDED: HubOrigin("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0", _FOUR_BITS.format("GGUF, Q4_1")),
    GEMMA: HubOrigin("google/gemma-3-270m", "gemma", _FOUR_BITS.format("GGUF, Q4_K_M")),
}


def origin_of(record: Record) -> HubOrigin | None:
    """Of a run's base model; None where the hub has none that is known: one of a folder, or the toy model."""
    name = record.config.get("model")
    if not isinstance(name, str) or record.config.get("model_label"):
        return None
    if name in _IN_WHEELS:
        return _IN_WHEELS[name]
    return HubOrigin(name) if repository_name(name) else None

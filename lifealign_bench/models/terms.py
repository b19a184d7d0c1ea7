"""Terms of use that a model's user has to accept: where they can be read, and that they were accepted.

Accepted once for a cache, by ``lifealign-bench model fetch``, or for a process by its environment. What is accepted is
between the user and the model's owner; this only sees to it that nobody uses such a model without having been told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.util.files import cache_folder, write_json

VARIABLE = "LIFEALIGN_BENCH_ACCEPT_TERMS"


@dataclass(frozen=True)
class Terms:
    """Terms of use.

    Args:
        title: what they are called.
        address: where they can be read.
        policy: where what they forbid can be read.
        package, file: the package whose wheel has their text, and the file in it.
    """

    title: str
    address: str
    policy: str
    package: str
    file: str

    @property
    def summary(self) -> str:
        """Who has to read what, in a sentence."""
        return f"{self.title} ({self.address}) with the prohibited uses that they name ({self.policy})"


def accepted(model: str) -> bool:
    """Whether the terms of a model were accepted, in this cache or by the environment."""
    return model in os.environ.get(VARIABLE, "").replace(",", " ").split() or _note(model).is_file()


def accept(model: str, terms: Terms) -> None:
    """Note in the cache that a model's terms were accepted, and when."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(_note(model), {"model": model, "terms": terms.title, "address": terms.address, "accepted": moment})


def check_accepted(model: str, terms: Terms) -> None:
    """Refuse a model whose terms nobody has accepted.

    Raises:
        BenchError: that is so; it names the terms and how they are accepted.
    """
    if accepted(model):
        return
    raise BenchError(
        f"The model {model!r} may be used under the {terms.summary}, which were not accepted on this machine.",
        f"Read them; lifealign-bench model fetch {model} shows where their text lies, and --accept-terms accepts them "
        f"once (or, for a job without a terminal, {VARIABLE}={model}).",
    )


def _note(model: str) -> Path:
    return cache_folder() / "models" / f"{model}-terms-accepted.json"

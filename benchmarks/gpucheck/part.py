"""A part of the check: what it is called, how long it may take, what it needs, and what it found."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpucheck.bench import Bench

# How a part ended. ``wrong``: it ran to its end, and something does not hold.
OK, WRONG, FAILED, TIMED_OUT, LEFT_OUT = "ok", "wrong", "failed", "timed out", "left out"


@dataclass(frozen=True)
class Check:
    """One thing that has to hold.

    Args:
        what: in words.
        holds: whether it does.
        found: the value it was judged by.
        wanted: what that had to be.
    """

    what: str
    holds: bool
    found: str
    wanted: str


@dataclass
class Findings:
    """What a part found, filled while it works: what is there when it breaks off, or is ended, is kept.

    Args:
        keep: told after everything that is added.
        checks: what has to hold.
        rows: what was measured, one row a thing.
        said: sentences: what was left out within the part, and why.
    """

    keep: Callable[[Findings], None] = lambda findings: None
    checks: list[Check] = field(default_factory=list, init=False)
    rows: list[dict[str, Any]] = field(default_factory=list, init=False)
    said: list[str] = field(default_factory=list, init=False)

    def check(self, what: str, found: float, most: float) -> None:
        """Hold ``found`` against the most that it may be; what is no number does not hold."""
        self._add(Check(what, found <= most, f"{found:.3g}", f"at most {most:.3g}"))

    def truth(self, what: str, holds: bool, found: str = "") -> None:
        """Something that is so or not."""
        self._add(Check(what, holds, found or ("yes" if holds else "no"), "yes"))

    def row(self, measured: dict[str, Any]) -> None:
        """Something that was measured."""
        self.rows.append(measured)
        self.keep(self)

    def say(self, text: str) -> None:
        """A sentence."""
        self.said.append(text)
        self.keep(self)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"checks": [asdict(check) for check in self.checks], "rows": self.rows, "said": self.said}

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        self.keep(self)


@dataclass(frozen=True)
class Part:
    """One part.

    Args:
        name: what ``--part`` calls it.
        title: its heading.
        text: what is done in it.
        limit: seconds on a GPU after which it is ended.
        needs: modules beside torch, transformers and peft.
        action: what does it, ``module:function`` in this folder; loaded when it is done.
    """

    name: str
    title: str
    text: str
    limit: float
    action: str
    needs: tuple[str, ...] = ()

    def load(self) -> Callable[[Bench, Findings], None]:
        """The function."""
        module, _, name = self.action.partition(":")
        found: Callable[[Bench, Findings], None] = getattr(import_module(f"benchmarks.gpucheck.{module}"), name)
        return found

    def missing(self) -> list[str]:
        """Which of the modules that it needs are not here."""
        return [name for name in self.needs if not is_here(name)]


def is_here(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    return importlib.util.find_spec(module) is not None

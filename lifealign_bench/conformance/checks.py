"""What a check is and what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from lifealign_bench.conformance.bench import Bench, TrialFailed, in_one_line

__all__ = ["Check", "Finding", "Outcome", "Result", "bad", "good", "skipped"]

Result = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class Outcome:
    """How a check went, and what was seen."""

    result: Result
    found: str


def good(found: str) -> Outcome:
    """What was expected."""
    return Outcome("pass", found)


def bad(found: str) -> Outcome:
    """Something else."""
    return Outcome("fail", found)


def skipped(why: str) -> Outcome:
    """Nothing that could be looked at."""
    return Outcome("skip", why)


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Args:
        check: name of the check.
        result: pass, fail, or skip where the method gives nothing to look at.
        expected: what the contract asks for.
        found: what was seen.
        remedy: what to do about a failure; empty otherwise.
    """

    check: str
    result: Result
    expected: str
    found: str
    remedy: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is no failure."""
        return self.result != "fail"

    def as_dict(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """One thing that the contract asks of every method.

    Args:
        name: short and unique.
        expected, remedy: see :class:`Finding`.
        look: looks at what the bench has done with the method, or has it done first.
    """

    name: str
    expected: str
    remedy: str
    look: Callable[[Bench], Outcome]

    def examine(self, bench: Bench) -> Finding:
        """Look; a run that broke is a failure of the check that asked for it first, and leaves the others nothing."""
        try:
            outcome = self.look(bench)
        except TrialFailed as error:
            outcome = skipped(f"{error.trial} did not come to its end") if error.told else bad(error.reason)
            error.told = True
        except Exception as error:  # noqa: BLE001 - the check calls a stranger's code; what it raises is the finding
            outcome = bad(in_one_line(error))
        remedy = self.remedy if outcome.result == "fail" else ""
        return Finding(self.name, outcome.result, self.expected, outcome.found, remedy)

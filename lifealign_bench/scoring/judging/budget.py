"""How often a judge may be asked, and what its answers cost."""

from __future__ import annotations

import functools
import math
import os
import threading
from dataclasses import dataclass

from lifealign_bench.errors import BenchError, UsageError

PRICES_VARIABLE = "LIFEALIGN_BENCH_JUDGE_PRICES"


class BudgetSpent(BenchError):
    """No call may be made any more."""


class Calls:
    """Counts calls; several threads may use it."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def take(self, limit: int | None) -> bool:
        """Count one more call, unless that would be more than ``limit``; whether it may be made."""
        with self._lock:
            if limit is not None and self.count >= limit:
                return False
            self.count += 1
            return True


@functools.cache
def calls_of_this_process() -> Calls:
    """What ``--judge-budget`` limits: the runs of one command share it."""
    return Calls()


class Budget:
    """What of ``--judge-budget`` is left.

    Args:
        limit: calls at most, repeated ones included; None: no limit.
        calls: counts those that were made already.
    """

    def __init__(self, limit: int | None, calls: Calls | None = None) -> None:
        self.limit = limit
        self._calls = calls if calls is not None else calls_of_this_process()

    def spend(self) -> None:
        """Count a call that is about to be made.

        Raises:
            BudgetSpent: there is none left.
        """
        if not self._calls.take(self.limit):
            raise BudgetSpent(
                f"The budget of {self.limit} calls of the judge is spent.",
                "All answers are kept and cost no call again: raise --judge-budget and run the same command.",
            )


@dataclass(frozen=True)
class Prices:
    """USD for a million tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """In USD, to a millionth."""
        return round((prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6, 6)


def read_prices() -> Prices | None:
    """``LIFEALIGN_BENCH_JUDGE_PRICES``: USD for a million tokens of the prompt and of the answer, ``0.15,0.60``.

    Raises:
        UsageError: it is not two numbers.
    """
    text = os.environ.get(PRICES_VARIABLE, "").strip()
    if not text:
        return None
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError:
        prompt = completion = math.nan
    if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
        raise UsageError(
            f"{PRICES_VARIABLE}={text!r} is not two prices.",
            "Give USD for a million tokens of the prompt and of the answer, for example 0.15,0.60.",
        )
    return Prices(prompt, completion)

"""Reward functions: what a response is worth, checked by rules, no judge. One file a function, called as it is.

Each is a pure function of the response and of the row's ``check`` object and returns a number from 0 to 1. An empty
response is worth 0. A task's card names one of these, one of an installed package, or one in a Python file beside the
card: ``reward: my_rewards.py:rhymes``.
"""

from __future__ import annotations

import functools
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lifealign_bench.data.wording import Check, has_word, plain
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.extensions import Finder, Origin, is_own_file, own_file

RewardFunction = Callable[[str, Check], float]


class _Rewards(Finder[RewardFunction]):
    """A file of this package defines the function that it is called after; a user's one, or those that are named."""

    def pick(self, module: ModuleType, place: str, name: str) -> RewardFunction:
        """See :meth:`Finder.pick`; what is imported, or begins with ``_``, does not count."""
        own = {
            key: value
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        }
        built_in = module.__name__.removeprefix(f"{self.package}.")
        wanted = name or (built_in if built_in != module.__name__ else "")
        if wanted in own:
            return self.check(own[wanted], place)
        if len(own) == 1 and not wanted:
            return self.check(next(iter(own.values())), place)
        if name:
            raise BenchError(f"{place} defines no reward called {name!r}.", f"It has: {', '.join(own) or 'none'}.")
        raise self.none_or_several(place, list(own), f"Name one of its functions: {Path(place).name}:NAME.")

    def check(self, found: Any, place: str) -> RewardFunction:
        """A function of two arguments."""
        try:
            inspect.signature(found).bind("", {})
        except (TypeError, ValueError) as error:
            raise BenchError(
                f"The reward in {place} is not a function of the response and of the row's check object ({error}).",
                "Define it as def NAME(response: str, check: Mapping[str, Any]) -> float.",
            ) from error
        function: RewardFunction = found
        return function


REWARDS: Finder[RewardFunction] = _Rewards("reward", Path(__file__).parent, __name__)


def load_reward(word: str, home: Path = Path()) -> RewardFunction:
    """The function that a card names, guarded against empty and non-text responses.

    Args:
        word: a name, or ``file.py:function`` in the card's folder.
        home: that folder.

    Raises:
        UsageError: there is no such function or file, or the file is outside the folder.
        BenchError: the file does not import, or defines none or several. The function raises it, too, where one that is
            not part of this package fails or returns what is no number from 0 to 1.
    """
    inside = _inside(word, home)
    function = REWARDS.load(inside)
    return _guarded(function, word, own=inside in REWARDS.files())


def reward_origin(word: str, home: Path = Path()) -> Origin | None:
    """Where a card's function comes from; None of what is part of this package.

    Raises:
        BenchError: see :func:`load_reward`.
    """
    return REWARDS.origin(_inside(word, home))


def _inside(word: str, home: Path) -> str:
    """``word`` with the whole path of its file, which lies in ``home`` whatever ``..`` and links say."""
    if not is_own_file(word):
        return word
    file, name = own_file(word)
    path = home / file
    if not path.resolve().is_relative_to(home.resolve()):
        raise UsageError(
            f"The reward file {path} lies outside the card's folder {home}.", "Put it beside the card, without links."
        )
    return f"{path}:{name}" if name else str(path)


def _guarded(function: RewardFunction, word: str, *, own: bool) -> RewardFunction:
    @functools.wraps(function)
    def guarded(response: str, check: Check) -> float:
        text = plain(response)
        if not has_word(text):
            return 0.0
        row = check if isinstance(check, Mapping) else {}
        return min(1.0, max(0.0, float(function(text, row)))) if own else _asked(function, word, text, row)

    return guarded


def _asked(function: RewardFunction, word: str, text: str, check: Check) -> float:
    """What a function from outside says, which may be anything."""
    try:
        value: Any = function(text, check)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise BenchError(
            f"The reward {word} fails: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno}).",
            "Mend the function: it is asked about every response, and about the chosen ones.",
        ) from error
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise BenchError(
            f"The reward {word} returns {value!r:.60}, which is no number from 0 to 1.",
            "Mend that function.",
        )
    return number

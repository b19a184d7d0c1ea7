"""Prompts and generations for a page: the pairs that moved most first, within a size."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifealign_bench.results.folder import StageResponses
from lifealign_bench.results.history import PairHistory, histories
from lifealign_bench.results.view import RunView

LONGEST = 4000  # characters of one text


@dataclass(frozen=True)
class Sample:
    """One test pair through the stages.

    Args:
        task: its task.
        lost: right after its task's own stage, and wrong at the end.
        plain: the pair for the page's script: plain values, every text made visible.
        cut: how many of its texts were longer than what is shown.
    """

    task: str
    lost: bool
    plain: dict[str, Any]
    cut: int


@dataclass(frozen=True)
class Texts:
    """What a page shows of a run's texts.

    Args:
        stages: names of the stages.
        shown: the pairs that are in the page.
        totals: task to how many pairs there are.
        beside: whether the pairs are those that the other runs of the page show.
    """

    stages: tuple[str, ...]
    shown: tuple[Sample, ...]
    totals: dict[str, int]
    beside: bool = False

    @property
    def cut(self) -> int:
        """How many texts were longer than what is shown."""
        return sum(sample.cut for sample in self.shown)

    def as_json(self) -> dict[str, Any]:
        """For the page's script."""
        return {
            "stages": [{"label": visible(label)} for label in self.stages],
            "tasks": [visible(task) for task in self.totals],
            "pairs": [sample.plain for sample in self.shown],
        }


def collect_histories(view: RunView, said: StageResponses, data_dir: Path | None) -> dict[str, list[PairHistory]]:
    """Task to its pairs through the stages; empty for a run of which no generations are available."""
    if not any(said.values()):
        return {}
    return {task: histories(view, task, data_dir, said) for task in view.tasks}


def select_texts(
    view: RunView, found: Mapping[str, Sequence[PairHistory]], budget: int, beside: bool = False
) -> Texts | None:
    """As many pairs of each task as fit into ``budget`` bytes of JSON, those that lost most since they were learned
    first; None where there are none. Every task gets the same share, and what one leaves over goes to the next.

    Args:
        beside: other runs are in the page; the pairs are chosen by their names, so that all runs show the same ones.
    """
    if not found:
        return None
    own = {task: row.stage for row in view.rows for task in row.tasks}
    last = view.rows[-1].stage
    shown: list[Sample] = []
    left = budget
    for done, (task, pairs) in enumerate(found.items()):
        learned = own.get(task, 0)
        share = left // (len(found) - done)
        ordered = _ordered(pairs, learned if view.sequential and task in own else None, learned, last)
        chosen: list[tuple[int, Sample]] = []
        by_name = sorted(enumerate(ordered), key=lambda entry: entry[1][2].pair_id)
        for place, (lost, _, history) in by_name if beside else enumerate(ordered):
            sample = _sample(view, task, history, lost)
            size = len(embedded(sample.plain).encode()) + 1
            if size > share:
                break
            share, left = share - size, left - size
            chosen.append((place, sample))
        shown += [sample for _, sample in sorted(chosen, key=lambda entry: entry[0])]
    totals = {task: len(pairs) for task, pairs in found.items()}
    return Texts(tuple(row.label for row in view.rows), tuple(shown), totals, beside)


def _ordered(
    pairs: Sequence[PairHistory], own: int | None, learned: int, last: int
) -> list[tuple[bool, float, PairHistory]]:
    """Whether each pair was lost since the stage ``own``, how its margin changed since, and the pair; worst first."""
    rated = [(_lost(h, own, last), h.margins.get(last, 0.0) - h.margins.get(learned, 0.0), h) for h in pairs]
    return sorted(rated, key=lambda entry: (not entry[0], entry[1]))


def _lost(history: PairHistory, own: int | None, last: int) -> bool:
    """As ``movement.moved`` counts it."""
    if own is None or own not in history.margins or last not in history.margins:
        return False
    return history.margins[own] > 0 and not history.margins[last] > 0


def _sample(view: RunView, task: str, history: PairHistory, lost: bool) -> Sample:
    stages = [row.stage for row in view.rows]
    plain = {
        "task": visible(task),
        "id": visible(history.pair_id),
        "lost": lost,
        "prompt": _shown(history.prompt),
        "chosen": _shown(history.chosen),
        "rejected": _shown(history.rejected),
        "margins": [None if (m := history.margins.get(stage)) is None else round(m, 3) for stage in stages],
        "responses": [None if (r := history.responses.get(stage)) is None else _shown(r) for stage in stages],
    }
    texts = (history.prompt, history.chosen, history.rejected, *history.responses.values())
    return Sample(task, lost, plain, sum(len(text) > LONGEST for text in texts))


def _shown(text: str) -> str:
    if len(text) <= LONGEST:
        return visible(text)
    return visible(text[:LONGEST]) + f" … ({len(text) - LONGEST} more characters)"


# What could end the element, begin a comment in it or break a line of a script, as JSON writes it otherwise.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def embedded(value: Any) -> str:
    """``value`` as JSON that may stand in a ``<script type="application/json">`` as it is."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")


_KEPT = "\n\t\u200c\u200d"

_BREAKS = "\u2028\u2029\u0085\u000b\u000c"


class _Pictures(dict[int, str]):
    """Character to what is shown for it, found out once for each; for ``str.translate``."""

    def __missing__(self, code: int) -> str:
        shown = _picture(chr(code))
        self[code] = shown
        return shown


def _picture(character: str) -> str:
    code, kind = ord(character), unicodedata.category(character)
    if character in _KEPT:
        return character
    if character in _BREAKS:
        return "\n"
    if kind == "Cc" and code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if kind in ("Cc", "Cf"):
        return f"⟨U+{code:04X}⟩"
    return "\ufffd" if kind == "Cs" else character


_PICTURES = _Pictures()


def visible(text: str) -> str:
    """``text`` with nothing hidden.

    Line breaks and tabs stay; control characters become their pictures; marks that turn the writing direction and other
    invisible ones are named; halves of characters become the replacement character.
    """
    return text.replace("\r\n", "\n").translate(_PICTURES)

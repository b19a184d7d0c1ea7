"""Which of a split's cleaned pairs a task takes, where its card says more than "all": by size, and so that length tells
nothing.

Where the chosen response is mostly the shorter one, a rule that looks at nothing but length scores high, and what it
has learned looks like the task. ``balance: length`` takes pairs two by two, one whose chosen response is the longer and
one whose is the shorter, so that among the first so many, whatever the limit, both are as frequent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.cleaning import CleaningReport, note_rows, row_of
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Pair

# Reasons to leave a pair out.
TOO_LONG = "longer than the card takes"
UNBALANCED = "balance of lengths"
NO_OTHER = "no rejected response beside the chosen one"

# What is changed and noted.
ONE_OF_SEVERAL = "one of several rejected responses taken"
SHORTER = "chosen response is the shorter one"
LONGER = "chosen response is the longer one"


def select_pairs(
    card: TaskCard, pairs: Sequence[Pair], report: CleaningReport
) -> tuple[tuple[Pair, ...], CleaningReport]:
    """What the card takes of ``pairs``, and the report with the account of the rest.

    Balanced pairs come in couples, each where the later of its two stands in the file; others in the order of the file.
    The same pairs give the same selection.

    Raises:
        BenchError: lengths are to be balanced, and every chosen response is the shorter one, or the longer one.
    """
    if card.whole:
        return tuple(pairs), report
    dropped: dict[str, list[int]] = {}
    entries: list[list[Pair]] = []
    for pair in pairs:
        offers = _candidates(pair, card.separator)
        fitting = [one for one in offers if card.longest is None or _size(one) <= card.longest]
        if fitting:
            entries.append(fitting)
        else:
            dropped.setdefault(TOO_LONG if offers else NO_OTHER, []).append(row_of(pair))
    taken = [offers[0] for offers in entries]
    if card.balance is not None:
        taken = _balanced(entries)
        names = {pair.id for pair in taken}
        left = [offers[0] for offers in entries if offers[0].id not in names]
        if left and not any(map(_longer, taken)):
            raise _one_sided(card, left, report)
        dropped |= {UNBALANCED: [row_of(pair) for pair in left]} if left else {}
    before = {pair.id: pair.rejected for pair in pairs}
    facts = {
        ONE_OF_SEVERAL: [row_of(pair) for pair in taken if pair.rejected != before[pair.id]],
        SHORTER: [row_of(pair) for pair in taken if _longer(pair) < 0],
        LONGER: [row_of(pair) for pair in taken if _longer(pair) > 0],
    }
    changed = {what: facts[what] for what in (ONE_OF_SEVERAL,) if facts[what]}
    noted = {what: facts[what] for what in (SHORTER, LONGER) if facts[what]}
    told = note_rows(report, dropped=dropped, changed=changed, noted=noted)
    return tuple(taken), replace(told, kept=len(taken))


def _candidates(pair: Pair, separator: str | None) -> list[Pair]:
    """The pair with each of its rejected responses; none where all are its chosen one."""
    if separator is None:
        return [pair]
    parts = dict.fromkeys(part.strip() for part in pair.rejected.split(separator))
    return [replace(pair, rejected=part) for part in parts if part and part != pair.chosen]


def _size(pair: Pair) -> int:
    """Characters of the longest of prompt, chosen and rejected."""
    return max(sum(len(turn.content) for turn in pair.prompt), len(pair.chosen), len(pair.rejected))


def _longer(pair: Pair) -> int:
    """By how many characters the chosen response is the longer one."""
    return len(pair.chosen) - len(pair.rejected)


def _balanced(entries: Sequence[Sequence[Pair]]) -> list[Pair]:
    """One pair of every entry at most: chosen longer as often as shorter, and all of equal lengths.

    An entry that can be of either kind becomes what the others lack, evenly over the file. Of several rejected
    responses the one that is nearest in length is taken.
    """
    equal: dict[int, Pair] = {}
    longer: dict[int, Pair] = {}
    shorter: dict[int, Pair] = {}
    for place, offers in enumerate(entries):
        for pair in sorted(offers, key=lambda one: abs(_longer(one))):
            kind = equal if not _longer(pair) else longer if _longer(pair) > 0 else shorter
            kind.setdefault(place, pair)
        if place in equal:
            longer.pop(place, None)
            shorter.pop(place, None)
    either = sorted(longer.keys() & shorter.keys())
    # So many of them, made longer, bring both kinds to one number, or as near to it as can be.
    count = min(max((len(shorter) - len(longer) + len(either)) // 2, 0), len(either))
    made_longer = {place: longer.pop(place) for place in either}
    for place in _spread(either, count):
        longer[place] = made_longer[place]
        del shorter[place]
    most = min(len(longer), len(shorter))
    couples = zip(_spread(sorted(longer), most), _spread(sorted(shorter), most), strict=True)
    rows = [(max(one, other), sorted([(one, longer[one]), (other, shorter[other])])) for one, other in couples]
    rows += [(place, [(place, pair)]) for place, pair in equal.items()]
    return [pair for _, couple in sorted(rows, key=lambda row: row[0]) for _, pair in couple]


def _spread(places: Sequence[int], count: int) -> list[int]:
    """So many of the places, evenly over them."""
    return [places[order * len(places) // count] for order in range(count)]


def _one_sided(card: TaskCard, left: Sequence[Pair], report: CleaningReport) -> BenchError:
    kind, other = ("shorter", "longer") if _longer(left[0]) < 0 else ("longer", "shorter")
    place = f" {card.path}" if card.path is not None else ""
    several = (
        "" if card.separator else "say what stands between them ('separator') where a rejected text lists several, "
    )
    return BenchError(
        f"Task {card.name}: its {report.split} pairs cannot be balanced by length: the chosen response is the {kind} "
        f"one in all {len(left)}.",
        f"Add pairs whose chosen response is the {other} one, {several}or take 'balance' off the card{place}; a rule "
        "that sees nothing but length then scores 100 %.",
    )

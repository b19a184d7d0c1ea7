"""Cards that take a part of their files: by size, and so that length says nothing; what is left out is counted."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.data.cards import TaskCard, load_stream, load_task
from lifealign_bench.data.cleaning import CleaningReport
from lifealign_bench.data.selection import (
    LONGER,
    NO_OTHER,
    ONE_OF_SEVERAL,
    SHORTER,
    TOO_LONG,
    UNBALANCED,
    select_pairs,
)
from lifealign_bench.data.sources import InlineSource
from lifealign_bench.data.tasks import load_split, load_task_data
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message, Pair
from tests.command import Call

Lengths = tuple[int, list[int]]


def card_of(**more: Any) -> TaskCard:
    rows = ({"prompt": "p", "chosen": "c", "rejected": "r"},)
    return TaskCard(name="t", title="t", source=InlineSource(train=rows, test=rows), **more)


def pair(row: int, chosen: int, rejected: list[int]) -> Pair:
    return Pair(f"t/train/{row}", "t", (Message("user", "q"),), "c" * chosen, ";".join("r" * n for n in rejected))


def select(card: TaskCard, *lengths: Lengths) -> tuple[tuple[Pair, ...], CleaningReport]:
    pairs = [pair(row, chosen, rejected) for row, (chosen, rejected) in enumerate(lengths)]
    return select_pairs(card, pairs, CleaningReport("t", "train", len(pairs), len(pairs)))


def longer(pairs: tuple[Pair, ...]) -> list[int]:
    """1 where the chosen response is the longer one, -1 where it is the shorter."""
    return [(len(p.chosen) > len(p.rejected)) - (len(p.chosen) < len(p.rejected)) for p in pairs]


def rows(pairs: tuple[Pair, ...]) -> list[int]:
    return [int(p.id.rpartition("/")[2]) for p in pairs]


def test_what_is_in_excess_leaves_evenly_and_is_counted() -> None:
    """Six shorter and two longer ones: of the six, the first and the fourth stay; equal lengths stay anyway."""
    lengths: list[Lengths] = [(1, [2]), (1, [2]), (1, [2]), (3, [3]), (1, [2]), (2, [1]), (1, [2]), (1, [2]), (2, [1])]
    taken, report = select(card_of(balance="length"), *lengths)
    assert rows(taken) == [3, 0, 5, 4, 8] and longer(taken) == [0, -1, 1, -1, 1]
    assert report.dropped == {UNBALANCED: 4} and report.examples[UNBALANCED] == [1, 2, 6, 7]
    assert report.noted == {SHORTER: 2, LONGER: 2}
    assert report.kept == 5 and report.read == 9
    assert "4 (balance of lengths: row 1, 2, 6, 7)" in report.summary()


@given(st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=3)), max_size=40))
def test_the_first_so_many_are_balanced_whatever_the_limit(lengths: list[Lengths]) -> None:
    """And no pair that could be kept is lost: of one kind all entries that can be of it are there."""
    card = card_of(balance="length", separator=";")
    try:
        taken, report = select(card, *lengths)
    except BenchError as error:
        assert "cannot be balanced by length" in error.message
        return
    signs = longer(taken)
    assert all(abs(total) <= 1 for total in accumulate(signs)) and sum(signs) == 0
    assert report.kept == len(taken) == len(set(rows(taken))) and report.read == report.kept + sum(
        report.dropped.values()
    )
    unequal = [(c, r) for c, r in lengths if c not in r]
    can = [sum(any((n - c) * side > 0 for n in r) for c, r in unequal) for side in (1, -1)]
    assert len(taken) == len(lengths) - len(unequal) + min(*(2 * n for n in can), len(unequal) // 2 * 2)
    assert select(card, *lengths)[0] == taken


def test_of_several_rejected_responses_the_nearest_in_length_is_taken() -> None:
    taken, report = select(card_of(balance="length", separator=";"), (5, [9, 2, 3]), (5, [1, 9, 8]), (4, [9, 4]))
    assert [(len(p.chosen), len(p.rejected)) for p in taken] == [(5, 3), (5, 8), (4, 4)]
    assert report.changed == {ONE_OF_SEVERAL: 3} and not report.dropped
    alone = pair(0, 3, [3])
    same = Pair(alone.id, "t", alone.prompt, "rrr", "rrr; rrr ;")
    _, report = select_pairs(card_of(separator=";"), [same], CleaningReport("t", "train", 1, 1))
    assert report.dropped == {NO_OTHER: 1} and report.kept == 0


def test_what_is_longer_than_the_card_takes_is_left_out() -> None:
    taken, report = select(card_of(longest=4), (4, [4]), (5, [1]), (1, [5]))
    assert rows(taken) == [0] and report.dropped == {TOO_LONG: 2} and report.examples[TOO_LONG] == [1, 2]
    taken, _ = select(card_of(longest=4, separator=";"), (1, [9, 4]))  # one that is short enough
    assert len(taken[0].rejected) == 4
    question = Pair("t/train/0", "t", (Message("user", "abc"), Message("assistant", "de")), "c", "r")
    assert select_pairs(card_of(longest=4), [question], CleaningReport("t", "train", 1, 1))[0] == ()


@pytest.mark.parametrize(("lengths", "kind"), [((1, [2]), "shorter"), ((2, [1]), "longer")])
def test_where_all_are_of_one_kind_there_is_a_remedy(lengths: Lengths, kind: str) -> None:
    with pytest.raises(BenchError) as caught:
        select(card_of(balance="length"), lengths, lengths, lengths)
    assert f"the chosen response is the {kind} one in all 3" in caught.value.message
    assert "'separator'" in caught.value.remedy and "take 'balance' off the card" in caught.value.remedy
    with pytest.raises(BenchError) as caught:
        select(card_of(balance="length", separator=";"), lengths)
    assert "'separator'" not in caught.value.remedy


def test_the_command_line_counts_it_and_refuses_without_a_traceback(call: Call, tmp_path: Path) -> None:
    def card(*answers: tuple[str, str]) -> str:
        path = tmp_path / "mine.yaml"
        found = [f"{{prompt: 'q{i}', chosen: {c}, rejected: {r}}}" for i, (c, r) in enumerate(answers)]
        text = f"[{', '.join(found)}]"
        path.write_text(
            f"name: mine\ntitle: t\nbalance: length\nsource: {{type: inline, train: {text}, test: {text}}}\n"
        )
        return str(path)

    code, out, _ = call("show", card(("a", "bb"), ("aa", "b"), ("a", "bb")))
    assert code == 0 and "dropped: balance of lengths" in out and "noted: chosen response is the longer one" in out
    code, out, _ = call("data", "stats", str(tmp_path / "mine.yaml"), "--model", "none", "--json")
    assert code == 0 and '"balance of lengths": 1' in out and '"shorter_chosen_percent": 50.0' in out
    code, out, _ = call("run", "--model", "fake", "--stream", str(tmp_path / "mine.yaml"), "--dry-run")
    assert code == 0 and "2 balance of lengths" in out
    code, _, err = call("run", "--model", "fake", "--stream", card(("a", "bb"), ("a", "bbb")))
    assert code == 2 and "cannot be balanced by length" in err and "Traceback" not in err


SIZES = {
    "TruthfulQA-balanced": (652, 80),
    "safe-rlhf-balanced": (1358, 162),
    "hh-rlhf-helpful-balanced": (1496, 474),
    "hh-rlhf-harmless-balanced": (1811, 669),
}


def test_the_stream_of_real_pairs_has_what_its_card_promises(shared_data: Path) -> None:
    """512 training and 150 test pairs a task, 80 of TruthfulQA, and in each as many longer as shorter ones."""
    stream = load_stream("paper-512")
    limits = stream.defaults.train_limit, stream.defaults.test_limit
    assert limits == (512, 150)
    for name in stream.tasks:
        card = load_task(name)
        sizes = tuple(len(load_split(card, split, data_dir=shared_data)[0]) for split in ("train", "test"))
        assert sizes == SIZES[name], name
        data = load_task_data(card, data_dir=shared_data, train_limit=512, test_limit=150)
        assert (len(data.train), len(data.test)) == (512, min(150, sizes[1]))
        for pairs in (data.train, data.test):
            assert abs(sum(longer(pairs))) <= 1, name

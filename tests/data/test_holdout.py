"""Validation pairs are no easier than test pairs: neither their cluster nor their answer is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.data.holdout import answers_of, held_out, plain_answer
from lifealign_bench.data.tasks import load_data, load_task_data
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.util.progress import Progress


def pair(row: int, prompt: object, chosen: str, rejected: str = "", group: str = "") -> Pair:
    ask = (Message("user", f"prompt {prompt}"),)
    return Pair(f"t/train/{row}", "t", ask, chosen, rejected or f"bad {row}", group=group)


def pairs_of(prompts: Sequence[int], answers: Sequence[int] | None = None) -> list[Pair]:
    good = range(len(prompts)) if answers is None else answers
    return [
        pair(row, prompt, f"good {answer}") for row, (prompt, answer) in enumerate(zip(prompts, good, strict=False))
    ]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 25), st.integers(0, 25)), min_size=3, max_size=30),
    st.integers(1, 5),
    st.none() | st.integers(1, 12),
)
def test_no_cluster_and_no_chosen_answer_is_on_both_sides(
    rows: list[tuple[int, int, int]], count: int, limit: int | None
) -> None:
    pairs = [pair(i, i, f"Text  {a}", f"text {b} ", group=f"topic {c}") for i, (c, a, b) in enumerate(rows)]
    try:
        left, kept = held_out("t", pairs, count, limit)
    except BenchError as error:
        assert "Task t" in error.message and error.remedy
        return
    assert len(kept) == count and len({p.id for p in kept}) == count
    assert count == 1 or len({p.cluster for p in kept}) > 1
    assert not {p.cluster for p in left} & {p.cluster for p in kept}
    assert not {plain_answer(p.chosen) for p in kept} & answers_of(left)
    assert list(kept) == [p for p in pairs if p in kept] and list(left) == [p for p in pairs if p in left]
    assert len(left) >= min(limit or len(pairs), (len(pairs) + 1) // 2) and (limit is None or len(left) <= limit)


def test_the_held_out_set_grows_until_no_answer_is_left_behind() -> None:
    """The last pair's answer stands in pair 1, spelled otherwise, as the answer that is not wanted."""
    pairs = [pair(0, 0, "a"), pair(1, 1, "b", "Say  NOTHING"), pair(2, 2, "c"), pair(3, 3, "say nothing\n")]
    left, kept = held_out("t", pairs, 2, None)
    assert [p.id[-1] for p in kept] == ["1", "3"] and [p.id[-1] for p in left] == ["0", "2"]
    # One is scored; the other is not trained on all the same.
    left, kept = held_out("t", pairs, 1, None)
    assert [p.id[-1] for p in kept] in (["1"], ["3"]) and [p.id[-1] for p in left] == ["0", "2"]


def test_a_cluster_is_held_out_whole() -> None:
    pairs = [pair(i, i, f"good {i}", group="dog" if i in (1, 5) else f"other {i}") for i in range(6)]
    left, kept = held_out("t", pairs, 3, None)
    assert [p.id[-1] for p in kept] == ["1", "4", "5"] and len(left) == 3
    with pytest.raises(BenchError, match="all 2 validation pairs are of one cluster") as caught:
        held_out("t", pairs, 2, None)
    assert "--validation 3" in caught.value.remedy


def test_a_split_that_leaks_is_refused_by_name_with_a_remedy() -> None:
    """Ten prompts, and one answer to them all: there is nothing that could be held out."""
    with pytest.raises(BenchError, match=r"Task t has 10 .* word for word .* There are 0\.") as caught:
        held_out("t", pairs_of(range(10), [0] * 10), 2, None)
    assert "repeated answers" in caught.value.remedy
    with pytest.raises(BenchError, match=r"There are 5\.") as caught:
        held_out("t", pairs_of(range(10), [0] * 5 + [*range(1, 6)]), 6, 6)
    assert "--validation 5" in caught.value.remedy


def test_a_set_phrase_binds_nothing_where_the_card_says_so() -> None:
    left, kept = held_out("t", pairs_of([0, 1, 2, 3, 4, 4], [0] * 6), 3, None, set_phrase=True)
    assert [p.id[-1] for p in kept] == ["3", "4", "5"] and len(left) == 3
    assert not {p.cluster for p in left} & {p.cluster for p in kept}


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(BenchError, match="too few to hold 3"):
        held_out("t", pairs_of([1, 2, 3]), 3, None)
    with pytest.raises(BenchError, match="too few to hold 1"):
        held_out("t", pairs_of([1, 1, 1, 1]), 1, 2)


def test_answers_of_other_tasks_are_avoided_where_that_is_possible() -> None:
    pairs = pairs_of(range(6))
    assert [p.id[-1] for p in held_out("t", pairs, 2, None)[1]] == ["4", "5"]
    assert [p.id[-1] for p in held_out("t", pairs, 2, None, {"good 5"})[1]] == ["3", "4"]
    everything = {f"good {i}" for i in range(6)}
    assert [p.id[-1] for p in held_out("t", pairs, 2, None, everything)[1]] == ["4", "5"]


def test_who_shares_answers_with_another_task_is_told(fake_config: Callable[..., RunConfig]) -> None:
    """fake-upper and fake-lower want the opposite of each other's texts."""
    told: list[str] = []

    class Listener(Progress):
        def notice(self, text: str) -> None:
            told.append(text)

    load_data(fake_config(validation=3), Listener())
    assert "Task fake-upper: the chosen answers of 3 validation pairs stand in training pairs of other tasks." in told
    told.clear()
    load_data(fake_config(), Listener())
    assert not told


@pytest.mark.parametrize("name", ["mini-detailed", "mini-brief", "mini-direct", "mini-facts", "mini-refusal"])
def test_of_mini_no_topic_and_no_answer_is_on_both_sides(name: str) -> None:
    """Where a topic has four pairs, six topics leave, and most of what is trained on stays as without validation."""
    tuned = load_task_data(load_task(name), data_dir=None, train_limit=96, validation=24)
    plain = load_task_data(load_task(name), data_dir=None, train_limit=96, test_limit=24)
    assert (len(tuned.train), len(tuned.test)) == (96, 24)
    assert not {p.cluster for p in tuned.test} & {p.cluster for p in tuned.train}
    assert not {plain_answer(p.chosen) for p in tuned.test} & answers_of(tuned.train)
    assert all(pair.id.split("/")[1] == "train" for pair in tuned.test)
    assert len(set(tuned.train) & set(plain.train)) >= 88
    assert not {p.prompt for p in tuned.test} & {p.prompt for p in plain.test}

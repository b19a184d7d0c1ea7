"""What tasks have between their own stage and the end, as a text speaks of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.board_text import Boards, UnsupportedClaimError
from benchmarks.course_text import CourseText
from lifealign_bench.errors import BenchError
from lifealign_bench.results.view import RunView
from tests.published_records import TASKS, publish


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    results = tmp_path_factory.mktemp("results")
    for method, level in (("dpo", 0.5), ("replay", 0.9)):
        for seed in range(3):
            publish(results, method, seed, level=level)
    publish(results, "replay", 7, level=0.2)
    return Boards(results)


def means(boards: Boards, method: str) -> np.ndarray:
    """(rows, tasks) over the seeds, from the records."""
    places = sorted(boards.results.glob(f"some/small/{method}/*.json"))
    found = [RunView.open(place).record.scores["preference_accuracy"].array() for place in places]
    return np.asarray(np.mean(found, axis=0))


def test_a_task_after_and_before_stages(boards: Boards) -> None:
    course = CourseText(boards("some", "small"))
    one, two, three = TASKS
    found = means(boards, "dpo")
    # Rows are the start and the stages, in the order of the tasks.
    assert course.after("dpo", one, one) == f"{found[1, 0]:.1f}" != f"{found[2, 0]:.1f}"
    assert course.after("dpo", one, three) == f"{found[3, 0]:.1f}"
    assert course.before("dpo", one, three) == course.next("dpo", one) == f"{found[2, 0]:.1f}"
    assert course.before("dpo", two, two) == f"{found[1, 1]:.1f}"
    assert course.before("replay", one, one) == "50.0"
    margin = [v.record.scores["preference_margin"].array()[2, 0] for v in boards.views if v.name == "dpo"]
    assert course.next("dpo", one, "preference_margin") == f"{np.mean(margin):.1f}"
    with pytest.raises(BenchError, match="no run of once"):
        course.next("once", one)


def test_what_is_gone_before_its_rival_comes_is_a_claim(boards: Boards) -> None:
    course = CourseText(boards("some", "small"))
    level = float(course.next("dpo", "one"))
    assert course.gone_before("dpo", level, 1, {"one": "three"}) == ""
    with pytest.raises(UnsupportedClaimError, match=r"dpo has \d+\.\d on one before the stage of two"):
        course.gone_before("dpo", level, 1, {"one": "two"})  # just learned


def test_gaps_are_by_the_seeds_that_both_have(boards: Boards) -> None:
    text = boards("some", "small")
    ends = {(v.name, v.seed): v.metric("preference_accuracy", "last") for v in boards.views}
    wanted = [ends["replay", seed] - ends["dpo", seed] for seed in range(3)]
    assert CourseText(text).gaps("replay", "dpo") == ", ".join(f"{gap:.1f}" for gap in wanted)

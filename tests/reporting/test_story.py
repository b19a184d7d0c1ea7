"""What a run says of itself after each stage."""

from __future__ import annotations

import io

from rich.console import Console

from lifealign_bench.reporting.live import PlainProgress
from lifealign_bench.reporting.story import Story
from lifealign_bench.util.progress import ShownAnswer, Work
from tests.reporting.test_display import Make


def test_a_stage_says_what_was_learned_and_lost_with_a_response_of_each() -> None:
    story = Story(2)
    assert story.scored(0, (), {"reward": {"a": 3.0, "b": 0.0}}) == []
    assert story.scored(1, ("a",), {"reward": {"a": 94.4, "b": 0.0}}) == ["stage 1/2: reward of a 3 → 94"]
    story.answered({"a": ShownAnswer("Name it.", "It is\n\nan owl.", "[owl]"), "b": ShownAnswer("Say no.", "", "No.")})
    lines = story.scored(2, ("b",), {"reward": {"a": 12.0, "b": 81.0}, "win_rate": {"a": 50.0, "b": 90.0}})
    assert lines[:2] == ["stage 2/2: reward of b 0 → 81", "  lost: a 94 → 12"]
    assert lines[2:5] == ["  b is asked: Say no.", "    base model: (nothing)", "    now:        No."]
    assert lines[5:] == ["  a is asked: Name it.", "    base model: It is / an owl.", "    now:        [owl]"]


def test_what_a_model_says_cannot_draw_on_the_terminal_and_a_small_change_is_no_loss() -> None:
    story = Story(2)
    story.scored(1, ("a",), {"reward": {"a": 94.0}})
    story.answered({"b": ShownAnswer("p" * 200, "\x1b[31mred", "[bold]x[/bold]")})
    lines = story.scored(2, ("b",), {"reward": {"a": 85.0, "b": 7.0}})
    assert not any("lost" in line or "\x1b" in line for line in lines) and "[bold]x[/bold]" in lines[-1]
    assert len(lines[1]) < 120


def test_scores_without_rewards_are_told_by_accuracy_and_unknown_ones_not_at_all() -> None:
    assert Story(1).scored(1, ("a",), {"preference_accuracy": {"a": 75.0}}) == [
        "stage 1/1: preference accuracy of a 75"
    ]
    assert Story(1).scored(1, ("a",), {"mine": {"a": 75.0}}) == []


def test_a_log_has_the_story_of_a_run(fake_config: Make) -> None:
    stream = io.StringIO()
    progress = PlainProgress(Console(file=stream, width=40))
    progress.run_started(fake_config(), Work(total=60.0, stages=1))
    progress.scored(0, {"reward": {"t": 0.0}})
    progress.phase_started(1, "sft", ("t",), 3)
    progress.phase_started(1, "score", ("other",), 0)
    progress.answered(1, {"t": ShownAnswer("p", "q", "r")})
    progress.scored(1, {"reward": {"t": 50.0}})
    assert "stage 1/1: reward of t 0 → 50\n  t is asked: p\n" in stream.getvalue()

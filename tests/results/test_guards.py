"""A setting that scores well with broken responses is not chosen, and the table says what would have been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.experiments.tuning import trial_of
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.tuning import tuning_grids
from lifealign_bench.results.guards import BOUNDS, GuardReading, estimate_at_end, readings
from lifealign_bench.results.history import repetition
from lifealign_bench.results.published import pair_scores_file
from lifealign_bench.results.scores import ScoreInfo, score_matrices
from lifealign_bench.results.tuning import MethodTuning, SettingTrial, Tuning, best
from lifealign_bench.results.view import RunView
from tests.published_records import INFOS, TASKS, content_of, frames_of, rewrite

MORE = (
    ScoreInfo("win_rate", True, "", checked=True, main=50, scorer="reward"),
    ScoreInfo("kl_base", False, "", unit="nats a token", quality=False, scorer="distance"),
    ScoreInfo("response_repeated", True, "", quality=False, scorer="distance"),
)
FINE = "The hoe is a flat blade on a long handle. Pull it towards you to cut weeds."
LOOP = "The hoe is a big thing. " * 6
PAIRS = 24


def runs(
    place: Path,
    *,
    right: float = 0.8,
    looping: float = 0.0,
    base_looping: float = 0.0,
    win: float | None = 0.5,
    kl: float = 0.2,
    seeds: Sequence[int] = (0, 1, 2),
) -> list[RunView]:
    """Runs of one setting with these shares of right pairs, of responses that loop, of comparisons that are won."""
    views = []
    for seed in seeds:
        frames = frames_of(right, seed, PAIRS)
        for stage, frame in frames.items():
            share = looping if stage == len(frames) - 1 else base_looping
            said = [LOOP if i < round(share * PAIRS) else FINE for i in range(PAIRS)] * len(TASKS)
            won = [1.0 if i < round((0.5 if stage == 0 or win is None else win) * PAIRS) else 0.0 for i in range(PAIRS)]
            frame["response_repeated"] = [repetition(text) for text in said]
            frame["win_rate"] = won * len(TASKS)
            frame["kl_base"] = 0.0 if stage == 0 else kl
            if win is None:  # no task has a checking function
                frame["win_rate"] = math.nan
            elif win < 0:  # one has none
                frame.loc[frame["task"] == TASKS[0], "win_rate"] = math.nan
        content = content_of(frames, "dpo", seed)
        content["scores"] = {
            name: matrix.model_dump(mode="json")
            for name, matrix in score_matrices(TASKS, frames, len(TASKS), (*INFOS, *MORE)).items()
        }
        file = place / f"seed-{seed}.json"
        place.mkdir(parents=True, exist_ok=True)
        whole = pd.concat([frame.assign(stage=stage) for stage, frame in frames.items()], ignore_index=True)
        whole.to_parquet(pair_scores_file(file), index=False)
        rewrite(file, content)
        views.append(RunView.open(file))
    return views


def spoken(views: Sequence[RunView]) -> list[str]:
    return [reading.guard for reading in readings(views) if reading.spoke]


def test_after_both_phases_responses_are_chosen_by_and_may_be_far_from_the_base_model(tmp_path: Path) -> None:
    rate = "learning_rate"
    views = runs(tmp_path, right=0.6, win=0.9, kl=4.0)
    assert spoken(views) == ["drift"]
    by_pairs = [view.metric("preference_accuracy", "last") for view in views]
    assert trial_of({rate: 1.0}, {rate: 1e-3}, views).value == pytest.approx(sum(by_pairs) / 3)
    for view in views:
        view.record.config["sft"] = True
        view.record.scores["reward"] = view.record.scores["win_rate"]
        view.record.metrics["win_rate"] = {"last": 90.0}
    assert spoken(views) == []
    found = trial_of({rate: 1.0}, {rate: 1e-3}, views)
    assert found.value == 90.0 and not found.refused
    far = runs(tmp_path / "far", win=0.9, kl=12.0)
    for view in far:
        view.record.config["sft"] = True
    assert spoken(far) == ["drift"]


def test_each_guard_speaks_where_it_should_and_is_silent_elsewhere(tmp_path: Path) -> None:
    assert spoken(runs(tmp_path / "fine")) == []
    assert spoken(runs(tmp_path / "loops", looping=0.5)) == ["loops"]
    assert spoken(runs(tmp_path / "worse", win=0.2)) == ["worse"]
    assert spoken(runs(tmp_path / "drift", kl=1.5)) == ["drift"]
    assert spoken(runs(tmp_path / "all", looping=1.0, win=0.0, kl=3.0)) == ["worse", "loops", "drift"]


def test_what_the_base_model_does_itself_is_not_held_against_a_setting(tmp_path: Path) -> None:
    views = runs(tmp_path, looping=0.5, base_looping=0.5)
    (loops,) = [reading for reading in readings(views) if reading.guard == "loops"]
    assert (loops.value, loops.spoke, loops.bound) == (0.0, False, BOUNDS["loops"])
    # 12 of 24 responses loop, and 9 of the base model's: 12.5 points more, with the same in every seed.
    views = runs(tmp_path / "more", looping=0.5, base_looping=0.375)
    (loops,) = [reading for reading in readings(views) if reading.guard == "loops"]
    assert loops.value == pytest.approx(12.5) and loops.spoke


def test_a_win_rate_whose_interval_reaches_50_is_not_worse(tmp_path: Path) -> None:
    """One seed and 72 pairs: 46 percent are compatible with 50."""
    worse, *_ = readings(runs(tmp_path, win=11 / 24, seeds=(0,)))
    assert worse.value == pytest.approx(100 * 11 / 24)
    assert worse.high is not None and worse.high > 50 and not worse.spoke


def test_a_guard_without_numbers_says_nothing(tmp_path: Path) -> None:
    worse, *_ = readings(runs(tmp_path, win=None))
    assert worse == GuardReading(guard="worse", bound=50.0)
    # Of the tasks that have a function it speaks.
    views = runs(tmp_path / "some", win=-1.0)
    worse, *_ = readings(views)
    assert worse.value == 0.0 and worse.spoke


def test_the_mean_and_interval_hold_seeds_and_pairs(tmp_path: Path) -> None:
    """Against the sum by hand; with several seeds the interval is wider than that of the pairs alone."""
    views = runs(tmp_path, right=0.7)
    found = estimate_at_end(views, "preference_accuracy")
    matrices = [view.record.scores["preference_accuracy"].array() for view in views]
    assert found.value == pytest.approx(np.mean([matrix[-1].mean() for matrix in matrices]))
    assert found.seeds == 3 and found.low < found.value < found.high <= 100
    means = [matrix[-1].mean() for matrix in matrices]
    assert found.standard_error > np.std(means, ddof=1) / math.sqrt(3) > 0
    alone = estimate_at_end(views[:1], "preference_accuracy")
    assert alone.value == pytest.approx(means[0]) and alone.seeds == 1


def planted(tmp_path: Path) -> tuple[SettingTrial, SettingTrial]:
    """A rate that is fine, and twice that: more pairs are right, and the responses loop."""
    rate = "training.learning_rate"
    fine = trial_of({rate: 1.0}, {rate: 1e-3}, runs(tmp_path / "fine", right=0.75))
    loops = trial_of({rate: 2.0}, {rate: 2e-3}, runs(tmp_path / "loops", right=0.95, looping=0.75, win=0.2))
    return fine, loops


def table_of(trials: Sequence[SettingTrial], **more: Any) -> Tuning:
    found = MethodTuning(
        settings=("training.learning_rate",),
        criterion="last",
        trials=tuple(trials),
        chosen=best(trials).settings,
        without_guards=best(trials, guarded=False).settings,
        ends={"training.learning_rate": "trials"},
    )
    values: dict[str, Any] = {
        "stream": "some", "model": "small", "tasks": TASKS, "seeds": (0, 1, 2), "validation": PAIRS,
        "factors": (1.0, 2.0), "trials": 2, "bounds": BOUNDS, "methods": {"ewc": found},
    }  # fmt: skip
    return Tuning.model_validate(values | more)


def test_a_planted_run_with_more_right_pairs_and_looping_responses_is_refused(tmp_path: Path) -> None:
    fine, loops = planted(tmp_path)
    assert fine.value is not None and loops.value is not None and loops.value > fine.value + 10
    assert loops.refused == ("worse", "loops") and fine.refused == ()
    assert best([fine, loops]) is fine and best([fine, loops], guarded=False) is loops
    shown = "\n".join(to_markdown(grid) for grid in tuning_grids(table_of([fine, loops]))).replace("\\", "")
    assert f"| ewc | learning_rate 0.001 | {fine.value:.1f} [" in shown
    assert f"learning_rate 0.002: {loops.value:.1f} [" in shown and "| worse, loops |" in shown
    assert "half" not in shown and "50 percent are four-word runs" in shown


def test_where_all_are_refused_the_best_is_taken_and_the_table_says_so(tmp_path: Path) -> None:
    rate = "training.learning_rate"
    low = trial_of({rate: 1.0}, {rate: 1e-3}, runs(tmp_path / "low", right=0.6, kl=1.2))
    high = trial_of({rate: 2.0}, {rate: 2e-3}, runs(tmp_path / "high", right=0.9, kl=1.4))
    assert best([low, high]) is high
    shown = to_markdown(tuning_grids(table_of([low, high]))[0])
    assert "ewc: the guards refuse every trial; the best of them all was chosen." in shown
    assert "ewc, learning\\_rate: the best is at an end of what was tried" in shown
    once = to_markdown(tuning_grids(table_of([low]))[0])
    assert "ewc, learning\\_rate: one value alone was tried" in once and "at an end" not in once
    assert "| learning\\_rate 0.001 |" in once

"""The targets that a stream whose responses learn and forget is held against, on matrices by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.calibrate_forms import found_runs, losses, matrix, report, verdicts
from lifealign_bench.errors import UsageError
from lifealign_bench.results.record import Record, ScoreMatrix, read_record
from tests.places import ROOT

PUBLISHED = ROOT / "results" / "mini" / "smollm2-135m"
# What is learned at 90 and lost to 50, 60, 90 and 88; the base model's row; the last task.
Values = list[list[float | None]]
FORGETS: Values = [
    [50.0, 50, 50, 50, 50],
    [90, 50, 50, 50, 50],
    [50, 90, 50, 50, 50],
    [50, 60, 90, 50, 50],
    [50, 60, 90, 90, 50],
    [50, 60, 90, 88, 90],
]
BASE: list[float | None] = [50.0] * 5
KEPT: list[float | None] = [90.0] * 5
NOT: list[float | None] = [None] * 5
REHEARSES: Values = [BASE, KEPT, KEPT, KEPT, KEPT, [80.0, 65, 90, 90, 90]]
LEARNS: Values = [BASE, NOT, NOT, NOT, NOT, [90.0, 71, 90, 90, 90]]


def with_scores(method: str, **scores: Values) -> Record:
    """A published record of the method with other values of these scores."""
    record = read_record(PUBLISHED / method / "seed-0.json")
    made: dict[str, ScoreMatrix] = dict(record.scores)
    for name, value in scores.items():
        made[name] = made[name].model_copy(update={"value": value})
    return record.model_copy(update={"scores": made})


def runs(dpo: Values = FORGETS, joint: float = 71.0) -> dict[str, list[Record]]:
    learns: Values = [*LEARNS[:-1], [joint if value == 71 else value for value in LEARNS[-1]]]
    return {
        "joint": [with_scores("joint", win_rate=learns, preference_accuracy=LEARNS, reward=[BASE] * 6)],
        "dpo": [with_scores("dpo", win_rate=dpo)],
        "replay": [with_scores("replay", win_rate=REHEARSES)],
    }


def holds(found: dict[str, list[Record]]) -> list[bool]:
    return [verdict.holds for verdict in verdicts(found)]


def test_losses_are_from_a_tasks_own_stage_to_the_end() -> None:
    assert losses(matrix(runs()["dpo"], "win_rate")).tolist() == [40, 30, 0, 2]


def test_every_target_can_be_met_and_missed() -> None:
    # Preference accuracy of joint is 71 on one task, where 85 are wanted.
    assert holds(runs()) == [True, True, False, True, True, True]
    assert holds(runs(joint=69.0))[1] is False
    kept: Values = [*FORGETS[:-1], [50.0, 66, 90, 88, 90]]  # the second task loses 24
    assert holds(runs(dpo=kept))[3] is False
    all_lost: Values = [*FORGETS[:-1], [50.0, 60, 80, 80, 90]]
    assert holds(runs(dpo=all_lost))[4] is False
    # Of 70 points 35 are won back: 40 - 10 and 30 - 25.
    assert "35.0 of 70.0 points" in verdicts(runs())[5].found
    less = runs()
    less["replay"] = [with_scores("replay", win_rate=[*REHEARSES[:-1], [79.0, 65, 90, 90, 90]])]
    assert holds(less)[5] is False


def test_the_base_models_reward_is_that_of_a_run_that_asked_it() -> None:
    found = runs()
    found["joint"] = [with_scores("joint", win_rate=LEARNS, preference_accuracy=LEARNS, reward=[NOT] * 6)]
    found["dpo"] = [with_scores("dpo", win_rate=FORGETS, reward=[[51.0] * 5, *[BASE] * 5])]
    assert verdicts(found)[0].found == "51, 51, 51, 51, 51" and not verdicts(found)[0].holds
    found["dpo"] = [with_scores("dpo", win_rate=FORGETS, reward=[[0.0] * 5, *[BASE] * 5])]
    assert verdicts(found)[0].holds


def test_the_report_of_published_records() -> None:
    text = report(found_runs([PUBLISHED]))
    assert "# Calibration of the stream mini" in text
    assert "## l2p: win rate, percent" in text
    assert text.count("| base |") == 3 * len(list(PUBLISHED.iterdir()))


def test_a_method_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No finished run of joint, dpo, replay") as caught:
        found_runs([tmp_path])
    assert "sweep --stream forms" in caught.value.remedy


def test_the_program_says_by_its_exit_status_whether_the_targets_hold(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "calibrate_forms.py")]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    done = subprocess.run([*command, str(PUBLISHED)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1 and "## Targets" in done.stdout

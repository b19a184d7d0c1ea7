"""What a run prints at the end: one screen of a terminal of 80 columns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lifealign_bench.reporting.tables.brief import (
    MOST_LINES,
    brief_comparison,
    brief_differences,
    brief_tasks,
    show_brief,
    show_summary,
)
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.results.comparison import compare_runs
from lifealign_bench.results.view import RunView
from tests.reporting.test_tables import TASKS, folder_of, record_of, scores, text_of

RUN = Path("runs/paper-small/smollm2-135m/lifealign/seed-0")


def lines_of(view: RunView) -> list[str]:
    console, stream = text_of()
    show_brief(console, view, RUN)
    return stream.getvalue().rstrip("\n").split("\n")


def test_a_run_is_one_screen_and_says_all_five_things(tmp_path: Path) -> None:
    values = scores()
    view = RunView(record_of(values), folder_of(tmp_path, values))
    lines = lines_of(view)
    assert len(lines) <= MOST_LINES
    assert max(len(line) for line in lines if not line.startswith("  lifealign-bench ")) <= 80  # commands are copied
    found = view.interval("preference_accuracy", "forgetting")
    assert found is not None
    said = {line[:11].strip(): line[11:] for line in lines}
    value = view.metric("preference_accuracy", "forgetting")
    assert said["forgotten"].startswith(f"{value:.1f} [{found.low:.1f}, {found.high:.1f}]")
    assert said["learned"].startswith(f"{view.metric('preference_accuracy', 'learning'):.1f} [")
    assert said["at the end"].startswith(f"{view.metric('preference_accuracy', 'last'):.1f} [")
    assert "tokens" in said["cost"]
    after = lines.index(next(line for line in lines if line.startswith("Next")))
    commands = [line.split()[1] for line in lines[after + 1 : after + 4]]
    assert commands == ["summary", "report", "inspect"] and lines[after + 2] == f"  lifealign-bench report {RUN}"
    lost = view.per_task("preference_accuracy")["forgetting"]
    assert lines[after + 3].endswith(f"--task {TASKS[int(np.nanargmax(lost))]}")
    assert lines.index(next(line for line in lines if line.startswith("Preference accuracy"))) > after
    assert all(task in "\n".join(lines) for task in TASKS)


def test_a_long_stream_with_long_names_is_one_screen_as_well(tmp_path: Path) -> None:
    tasks = [f"a-task-with-quite-a-long-name-{i}" for i in range(12)]
    lines = lines_of(RunView(record_of(scores(tasks=tasks))))
    assert len(lines) <= MOST_LINES and any("and 10 more" in line for line in lines)


def test_a_broken_run_says_why_and_a_joint_one_has_nothing_to_forget(tmp_path: Path) -> None:
    values = scores()
    for array in values.values():
        array[1:3] = math.nan
    joint = lines_of(RunView(record_of(values, plan=[TASKS], method="joint")))
    assert not any(line.startswith(("learned  ", "forgotten")) for line in joint)
    assert any(line.startswith("at the end") for line in joint)
    failed = record_of(scores(), status="failed").model_copy(update={"error": "NaN in [red]step 3"})
    lines = lines_of(RunView(failed))
    assert "Status: failed. NaN in [red]step 3" in lines and "outcome    none yet: the run is not complete" in lines


def test_several_runs_have_a_row_a_method_and_only_what_a_first_look_needs() -> None:
    views = [RunView(record_of(scores(), method=f"m{i}", seed=seed)) for i in range(15) for seed in (0, 1)]
    grid = brief_comparison(views)
    assert [row[0] for row in grid.rows] == [f"m{i}" for i in range(12)] and grid.rows[0][1] == "2 seeds"
    assert "And 3 more (--full)." in grid.notes
    assert str(grid.heads) == "('method', 'seed', 'last', 'forgetting', 'learning', 'time')"
    console, stream = text_of()
    show_summary(console, views, [RUN] * len(views))
    lines = stream.getvalue().rstrip("\n").split("\n")
    assert len(lines) <= MOST_LINES and max(map(len, lines)) <= 80


def test_the_difference_of_two_runs_is_one_screen(tmp_path: Path) -> None:
    tasks = [f"task-{i}" for i in range(9)]
    values = scores(tasks=tasks)
    first, second = (
        RunView(record_of(values, method=name), folder_of(tmp_path / name, values)) for name in ("dpo", "ewc")
    )
    pair = compare_runs(first, second, "preference_accuracy")
    console, stream = text_of()
    show_grid(console, brief_differences([pair], ["dpo seed 0", "ewc seed 0"]))
    show_grid(console, brief_tasks(pair))
    lines = stream.getvalue().rstrip("\n").split("\n")
    assert len(lines) <= MOST_LINES - 4 and max(map(len, lines)) <= 80
    assert any(line.startswith("and 4 more") for line in lines)
    # The same scores: no difference.
    assert any(line.startswith("ewc seed 0") and "0.0 [" in line and "*" not in line for line in lines)


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100])
def test_a_split_table_leaves_no_column_alone_where_it_need_not(width: int) -> None:
    views = [RunView(record_of(scores(), method=f"m{i}")) for i in range(2)]
    console, stream = text_of(width)
    show_grid(console, brief_comparison(views))
    heads = [line.split() for line in stream.getvalue().split("\n") if line.startswith("method")]
    assert sum(len(head) - 2 for head in heads) == 4 and min(len(head) for head in heads) > 3
    assert "continued" not in stream.getvalue()


def test_an_error_of_0_says_what_it_does_not_say() -> None:
    values = scores()
    assert "±0.0: all pairs agree" not in "\n".join(lines_of(RunView(record_of(values))))
    values[TASKS[0]][-1] = 1.0  # all 32 pairs right at the end
    lines = lines_of(RunView(record_of(values)))
    said = " ".join(" ".join(lines).split())
    assert "±0.0: all pairs agree; 32 of 32 is compatible with 89.3 or more (95 % Wilson interval)." in said
    assert len(lines) <= MOST_LINES

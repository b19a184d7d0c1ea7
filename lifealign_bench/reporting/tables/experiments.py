"""The table of learning rates for people."""

from __future__ import annotations

from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.tuning import MethodTuning, Tuning
from lifealign_bench.util.text import with_error

__all__ = ["tuning_grid"]

_START = "learning"  # what a method is compared by that starts anew every stage


def tuning_grid(tuning: Tuning) -> Grid:
    """One row a method, one column a factor; the rate that is taken is the best of its row."""
    heads = ("method", "setting", *(f"x {factor:g}" for factor in tuning.factors), "taken")
    rows: tuple[tuple[Cell | str, ...], ...] = tuple(
        (name, found.setting.partition(".")[2], *_cells(found), f"{found.chosen:g}")
        for name, found in tuning.methods.items()
    )
    notes = [
        f"x: factor of the rate that the method has on this stream without tuning. {tuning.score.replace('_', ' ')} of "
        f"the model after the last stage, percent, mean over the tasks, on {tuning.validation} pairs a task that were "
        f"held out of training (no test pair was looked at); ±: one standard error over these pairs. One seed "
        f"({tuning.seed}): what another seed would choose is not known.",
        "Marked: the rate that is taken, the best of its row; of equal ones that nearest to x 1, then the smaller.",
    ]
    anew = [name for name, found in tuning.methods.items() if found.criterion == _START]
    if anew:
        notes.append(f"{', '.join(anew)}: the mean over the tasks, each after its own stage.")
    ends = [name for name, found in tuning.methods.items() if found.chosen in _ends(found)]
    if ends:
        notes.append(f"{', '.join(ends)}: the best is at an end of the grid; a wider one might do better.")
    failed = [
        f"{name} at {trial.rate:g}: {trial.error}"
        for name, found in tuning.methods.items()
        for trial in found.trials
        if trial.error
    ]
    title = f"Learning rates, chosen on {tuning.stream} with {tuning.model}"
    return Grid(title, heads, rows, (*notes, *failed), labels=2, legend=False)


def _ends(found: MethodTuning) -> tuple[float, float]:
    rates = [trial.rate for trial in found.trials]
    return min(rates), max(rates)


def _cells(found: MethodTuning) -> list[Cell]:
    cells = []
    for trial in found.trials:
        value = "failed" if trial.value is None else with_error(trial.value, trial.standard_error)
        cells.append(Cell(f"{value} ({trial.rate:g})", best=trial.rate == found.chosen))
    return cells

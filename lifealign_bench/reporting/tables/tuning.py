"""How settings were chosen, as tables: what was taken of each method, and every trial."""

from __future__ import annotations

from collections.abc import Mapping

from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.results.guards import LOOPING, Guard
from lifealign_bench.results.tuning import MethodTuning, SettingTrial, Tuning
from lifealign_bench.results.view import WIN_RATE, score_title
from lifealign_bench.util.text import DASH, number, with_error

_START = "learning"  # what a method is compared by that starts anew every stage
_OLD_RULE = (
    "Chosen by the old rule: the learning rate alone, with one seed ({seed}), of one grid that was not widened; no "
    "guard on the responses; held-out pairs were kept apart by their prompt alone, so that their answers may stand "
    "word for word in training pairs. What methods reached here is too good, for some more than for others."
)
_ALONE = "alone"
_ENDS = {
    _ALONE: "one value alone was tried: more trials (--trials) try others",
    "bound": "the best is at the bound of the search",
    "trials": "the best is at an end of what was tried, and all trials are spent: more (--trials) might do better",
}
_GUARDS: dict[Guard, str] = {
    "worse": "worse: the win rate against the base model's responses lies below {bound:g} percent with its whole 95 % "
    "interval",
    "loops": "loops: the share of responses of which at least {half:g} percent are four-word runs that they have said "
    "before is more than {bound:g} points above the base model's",
    "drift": "drift: KL(policy || base) is above {bound:g} nats a token",
}


def tuning_grids(tuning: Tuning) -> list[Grid]:
    """What was taken of each method, then every trial; of a table of the old rule both in one."""
    if tuning.rule == 1:
        return [_old_grid(tuning)]
    return [_chosen_grid(tuning), _trial_grid(tuning)]


def _title(tuning: Tuning) -> str:
    return f"chosen on {tuning.stream} with {tuning.model}"


def _chosen_grid(tuning: Tuning) -> Grid:
    """One row a method."""
    heads = ("method", "taken", "reached", "tried", "without guards", "refused by")
    rows = []
    for name, found in tuning.methods.items():
        taken, passed = found.taken, found.passed_over
        rows.append(
            (
                name,
                _settings(found.chosen),
                DASH if taken is None else _reached(taken),
                "; ".join(f"{_short(s)} {_span(found, s)}" for s in found.settings),
                DASH if passed is None else f"{_settings(passed.settings)}: {_reached(passed)}",
                DASH if passed is None else ", ".join(passed.refused),
            )
        )
    return Grid(f"Settings, {_title(tuning)}", heads, tuple(rows), _notes(tuning), prose=(1, 2, 3, 4))


def _trial_grid(tuning: Tuning) -> Grid:
    """One row a trial, in the order in which they were made."""
    reached = "reached" if tuning.score == WIN_RATE else score_title(tuning.score)
    heads = ("method", "settings", reached, "win rate", "looping", "KL", "refused by")
    rows: list[tuple[Cell | str, ...]] = []
    for name, found in tuning.methods.items():
        for trial in found.trials:
            told = ", ".join(trial.refused) or DASH
            value = Cell("failed" if trial.value is None else _reached(trial), best=trial.settings == found.chosen)
            rows.append((name, _settings(trial.settings), value, *_readings(trial), told))
    notes = ("Marked: the choice. Looping: points above the base model. KL: nats a token.",)
    return Grid(f"All trials, {_title(tuning)}", heads, tuple(rows), notes, labels=2, legend=False)


def _notes(tuning: Tuning) -> tuple[str, ...]:
    seeds = ", ".join(map(str, tuning.seeds))
    notes = [
        f"Reached: {tuning.score.replace('_', ' ')} of the model after the last stage, percent, mean over the tasks "
        f"and the seeds {seeds}, on {tuning.validation} pairs a task that were held out of training in whole clusters "
        "and whose chosen answers stand in no pair of the task that was trained on (no test pair was looked at); in "
        f"brackets the 95 % interval over {'seeds and pairs' if len(tuning.seeds) > 1 else 'pairs, of this seed'}.",
        f"Every method had {tuning.trials} trials. Chosen: the best that no guard refuses; of equal ones that nearest "
        "to the values without tuning, then the smaller. The guards, on the responses to the validation prompts:",
    ]
    notes += [_GUARDS[guard].format(bound=bound, half=100 * LOOPING) + "." for guard, bound in tuning.bounds.items()]
    notes += _where(tuning.methods)
    silent = [n for n, found in tuning.methods.items() if found.taken is not None and _unseen(found.taken)]
    if silent:
        notes.append(f"{', '.join(silent)}: no task has a function that checks responses; 'worse' has nothing to say.")
    broken = [n for n, found in tuning.methods.items() if found.taken is not None and found.taken.refused]
    if broken:
        notes.append(f"{', '.join(broken)}: the guards refuse every trial; the best of them all was chosen.")
    notes += [
        f"{name}: {len(found.trials)} trials; there was nothing between them to try."
        for name, found in tuning.methods.items()
        if len(found.trials) < tuning.trials
    ]
    return (*notes, *_given(tuning.methods), *_anew(tuning), *_failed(tuning))


def _given(methods: Mapping[str, MethodTuning]) -> list[str]:
    """What methods had beside what was tried, where that is not their default."""
    having: dict[str, list[str]] = {}
    for name, found in methods.items():
        if found.given:
            having.setdefault(", ".join(f"{k} {v}" for k, v in found.given.items()), []).append(name)
    return [
        f"{', '.join(names)}: {given} in all trials, and in runs that take this." for given, names in having.items()
    ]


def _where(methods: Mapping[str, MethodTuning]) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, method in methods.items():
        for setting, end in method.ends.items():
            alone = len({trial.settings[setting] for trial in method.trials}) == 1
            if end in _ENDS:
                found.setdefault((_short(setting), _ALONE if alone else end), []).append(name)
    return [f"{', '.join(names)}, {setting}: {_ENDS[end]}." for (setting, end), names in found.items()]


def _unseen(trial: SettingTrial) -> bool:
    return any(reading.guard == "worse" and reading.value is None for reading in trial.guards)


def _anew(tuning: Tuning) -> list[str]:
    anew = [name for name, found in tuning.methods.items() if found.criterion == _START]
    return [f"{', '.join(anew)}: the mean over the tasks, each after its own stage."] if anew else []


def _failed(tuning: Tuning) -> list[str]:
    return [
        f"{name} at {_settings(trial.settings)}: {trial.error}"
        for name, found in tuning.methods.items()
        for trial in found.trials
        if trial.error
    ]


def _short(setting: str) -> str:
    return setting.partition(".")[2]


def _settings(values: Mapping[str, float]) -> str:
    return ", ".join(f"{_short(setting)} {value:g}" for setting, value in values.items())


def _reached(trial: SettingTrial) -> str:
    if trial.value is None:
        return DASH
    if trial.low is None or trial.high is None:
        return number(trial.value)
    return f"{number(trial.value)} [{number(trial.low)}, {number(trial.high)}]"


def _span(found: MethodTuning, setting: str) -> str:
    values = [trial.settings[setting] for trial in found.trials]
    return f"{min(values):g} to {max(values):g}" if min(values) < max(values) else f"{values[0]:g}"


def _readings(trial: SettingTrial) -> list[str]:
    seen = {reading.guard: reading for reading in trial.guards}
    digits: dict[Guard, int] = {"worse": 1, "loops": 1, "drift": 2}
    cells = []
    for guard, places in digits.items():
        value = seen[guard].value if guard in seen else None
        cells.append(DASH if value is None else number(value, places))
    return cells


def _old_grid(tuning: Tuning) -> Grid:
    """One row a method, one column a factor; the rate that is taken is the best of its row."""
    heads = ("method", "setting", *(f"x {factor:g}" for factor in tuning.factors), "taken")
    rows: tuple[tuple[Cell | str, ...], ...] = tuple(
        (name, _short(found.settings[0]), *_old_cells(found), f"{found.chosen[found.settings[0]]:g}")
        for name, found in tuning.methods.items()
    )
    notes = [
        _OLD_RULE.format(seed=tuning.seeds[0]),
        f"x: factor of the rate that the method has on this stream without tuning. {tuning.score.replace('_', ' ')} of "
        f"the model after the last stage, percent, mean over the tasks, on {tuning.validation} pairs a task that were "
        "held out of training (no test pair was looked at); ±: one standard error over these pairs.",
        "Marked: the rate that was chosen, the best of its row; of equal ones that nearest to x 1, then the smaller.",
        *_anew(tuning),
    ]
    ends = [name for name, found in tuning.methods.items() if _at_an_end(found)]
    if ends:
        notes.append(f"{', '.join(ends)}: the best is at an end of the grid; a wider one might do better.")
    title = f"Learning rates, {_title(tuning)}"
    return Grid(title, heads, rows, (*notes, *_failed(tuning)), labels=2, legend=False)


def _at_an_end(found: MethodTuning) -> bool:
    rates = [trial.settings[found.settings[0]] for trial in found.trials]
    return found.chosen[found.settings[0]] in (min(rates), max(rates))


def _old_cells(found: MethodTuning) -> list[Cell]:
    cells = []
    for trial in found.trials:
        value = "failed" if trial.value is None else with_error(trial.value, trial.standard_error)
        cells.append(Cell(f"{value} ({_old_rate(found, trial)})", best=trial.settings == found.chosen))
    return cells


def _old_rate(found: MethodTuning, trial: SettingTrial) -> str:
    return f"{trial.settings[found.settings[0]]:g}"

"""A table of tuned settings as a text speaks of it."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from benchmarks.board_text import MEND, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.rankcorrelation import rank_agreement
from lifealign_bench.results.tuning import FOLDER, MethodTuning, SettingTrial, read_tuning
from lifealign_bench.util.text import number


class TuningText:
    """The table of a stream and model below a folder of results.

    Raises:
        BenchError: there is none.
    """

    def __init__(self, results: Path, stream: str, model: str) -> None:
        self.tuning, _ = read_tuning(results / FOLDER / stream / f"{model}.json")

    def names(self) -> list[str]:
        """Its methods."""
        return list(self.tuning.methods)

    def trials(self) -> int:
        """Of every method."""
        return self.tuning.trials

    def factor(self, method: str) -> float:
        """What the method's own learning rate is multiplied by in what was taken.

        Raises:
            BenchError: the table has no such method.
        """
        return self._factor(self._method(method), self._taken(method))

    def changed(self, *methods: str) -> list[str]:
        """The methods, of all or of some, whose taken rate is not their own."""
        return [name for name in methods or self.names() if self.factor(name) != 1]

    def at_end(self, *methods: str) -> int:
        """Of how many methods, of all or of some, the rate that was taken is at an end of what was tried."""
        chosen = [self._method(name) for name in methods or self.names()]
        return sum(m.ends.get(m.settings[0], "inside") != "inside" for m in chosen)

    def refusals(self) -> str:
        """What the guards refused: ``` `dpo` at x 2 (loops 12.3, bound 10)```."""
        found = [
            f"`{name}` at x {self._factor(method, trial):g} ({g.guard} {number(g.value, 1)}, bound {g.bound:g})"
            for name, method in self.tuning.methods.items()
            for trial in method.trials
            for g in trial.guards
            if g.spoke and g.value is not None
        ]
        return ", ".join(found) or "nothing"

    def apart(self) -> str:
        """The methods of which what the taken rate reached lies above what their own did, interval above interval."""
        found = []
        for name in self.changed():
            own, taken = self._own(name), self._taken(name)
            if own.high is None or (taken.low is not None and taken.low > own.high):
                found.append(f"`{name}`")
        return ", ".join(found) or "none"

    def gain(self) -> str:
        """What choosing gave on the validation pairs, in points, as mean over the methods and its range: ``0.8 (0.0 to
        3.1)``. The best of several trials is too good by chance."""
        found = [self._reached(name, self._taken(name)) - self._reached(name, self._own(name)) for name in self.names()]
        return f"{number(fmean(found), 1)} ({number(min(found), 1)} to {number(max(found), 1)})"

    def minus(self, other: TuningText, method: str) -> str:
        """What a method's trials reached minus what those of another table did, lowest rate first: ``0.3, -1.2, 0.0``.

        Raises:
            BenchError: the tables have other factors of its rate.
        """
        one, two = (text._reached_at(method) for text in (self, other))
        if one.keys() != two.keys():
            raise BenchError(f"{method} was tried at other rates in one table than in the other.", MEND)
        return ", ".join(number(one[factor] - two[factor], 1) for factor in sorted(one))

    def agreement(self, *methods: str) -> str:
        """Kendall's tau between the orders of the methods, all or some, at their own rates and at those taken, with an
        interval over methods: ``0.81 [0.62, 0.94]``. A method whose own rate was taken is one trial on both sides."""
        names = methods or self.names()
        own, taken = ({n: [self._reached(n, trial(n))] for n in names} for trial in (self._own, self._taken))
        found = rank_agreement(own, taken, same_runs=True)
        if found.why:
            raise BenchError(f"Rates of {self.tuning.stream}: no rank correlation ({found.why}).", MEND)
        return found.kendall.said()

    def leading(self, *methods: str) -> str:
        """Claim that these reached more at every rate than any other did at any.

        Raises:
            UnsupportedClaimError: another one reached as much.
        """
        reached = [(t.value, n) for n in self.names() for t in self._method(n).trials if t.value is not None]
        least = min(value for value, name in reached if name in methods)
        most, other = max((value, name) for value, name in reached if name not in methods)
        if most >= least:
            raise UnsupportedClaimError(f"On validation pairs {other} reached {least:.1f} or more.", MEND)
        return ""

    def table(self, *methods: str) -> str:
        """A row a method, of all or of some, and a column a factor of its rate: what it reached, the taken one bold."""
        factors = sorted({self._factor(m, t) for m in self.tuning.methods.values() for t in m.trials})
        lines = [
            f"| method | {' | '.join(f'x {factor:g}' for factor in factors)} | taken |",
            f"| --- |{' ---: |' * len(factors)} ---: |",
        ]
        for name in methods or self.names():
            method = self._method(name)
            tried = {self._factor(method, trial): trial for trial in method.trials}
            cells = [_cell(tried.get(factor), method) for factor in factors]
            lines.append(f"| {name} | {' | '.join(cells)} | x {self.factor(name):g} |")
        return "\n".join(lines)

    def _own(self, name: str) -> SettingTrial:
        """The trial of a method's own rate."""
        method = self._method(name)
        found = next((t for t in method.trials if self._factor(method, t) == 1), None)
        if found is None:
            raise BenchError(f"The table of {self.tuning.stream} has no trial of {name} at its own rate.", MEND)
        return found

    def _taken(self, name: str) -> SettingTrial:
        found = self._method(name).taken
        if found is None:
            raise BenchError(f"What was taken for {name} is none of its trials.", MEND)
        return found

    def _reached_at(self, name: str) -> dict[float, float]:
        """Factor of a method's rate to what it reached."""
        method = self._method(name)
        return {self._factor(method, trial): self._reached(name, trial) for trial in method.trials}

    @staticmethod
    def _reached(name: str, trial: SettingTrial) -> float:
        if trial.value is None:
            raise BenchError(f"A trial of {name} reached nothing.", MEND)
        return trial.value

    @staticmethod
    def _factor(method: MethodTuning, trial: SettingTrial) -> float:
        return trial.factors[method.settings[0]]

    def _method(self, name: str) -> MethodTuning:
        if name not in self.tuning.methods:
            raise BenchError(f"The table of {self.tuning.stream} has nothing of {name}.", MEND)
        return self.tuning.methods[name]


def _cell(trial: SettingTrial | None, method: MethodTuning) -> str:
    if trial is None or trial.value is None:
        return "—"
    text = number(trial.value, 1)
    if trial.low is not None and trial.high is not None:
        text += f" [{number(trial.low, 1)}, {number(trial.high, 1)}]"
    refused = " (refused)" if trial.refused else ""
    return f"**{text}**" if trial.settings == method.chosen else text + refused

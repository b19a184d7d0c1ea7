"""A table of tuned settings as a text speaks of it."""

from __future__ import annotations

from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.results.tuning import FOLDER, MethodTuning, SettingTrial, read_tuning
from lifealign_bench.util.text import number

MEND = "Mend the source of the page (docs/findings/*.jinja), or tune."


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
        found = self._method(method)
        if found.taken is None:
            raise BenchError(f"What was taken for {method} is none of its trials.", MEND)
        return found.taken.factors[found.settings[0]]

    def changed(self) -> list[str]:
        """The methods whose taken rate is not their own."""
        return [name for name in self.names() if self.factor(name) != 1]

    def at_end(self) -> int:
        """Of how many methods the rate that was taken is at an end of what was tried."""
        return sum(m.ends.get(m.settings[0], "inside") != "inside" for m in self.tuning.methods.values())

    def table(self) -> str:
        """A row a method and a column a factor of its rate: what it reached, the taken one bold."""
        factors = sorted({self._factor(m, t) for m in self.tuning.methods.values() for t in m.trials})
        lines = [
            f"| method | {' | '.join(f'x {factor:g}' for factor in factors)} | taken |",
            f"| --- |{' ---: |' * len(factors)} ---: |",
        ]
        for name, method in self.tuning.methods.items():
            tried = {self._factor(method, trial): trial for trial in method.trials}
            cells = [_cell(tried.get(factor), method) for factor in factors]
            lines.append(f"| {name} | {' | '.join(cells)} | x {self.factor(name):g} |")
        return "\n".join(lines)

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

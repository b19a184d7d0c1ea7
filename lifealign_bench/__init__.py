"""lifealign-bench: a benchmark for continual alignment of language models.

What a notebook or a program needs is here, as ``import lifealign_bench as lb``; it is imported when it is first used.
Every other module is private: it may change with any version. What a method's, a scorer's or a judge's author imports
is said in the documentation of these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "BenchError",
    "Comparison",
    "Judge",
    "Leaderboard",
    "Method",
    "Run",
    "Runs",
    "Scorer",
    "compare",
    "leaderboard",
    "read",
    "report",
    "run",
    "sweep",
]

__version__ = "0.2.0"

_MODULES = {
    "errors": ("BenchError",),
    "method": ("Method",),
    "reporting.notebook.boards": ("Comparison", "Leaderboard"),
    "reporting.notebook.calls": ("compare", "leaderboard", "read", "report", "run", "sweep"),
    "reporting.notebook.runs": ("Run", "Runs"),
    "scoring.judging.judge": ("Judge",),
    "scoring.scorer": ("Scorer",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


if TYPE_CHECKING:
    from lifealign_bench.errors import BenchError
    from lifealign_bench.method import Method
    from lifealign_bench.reporting.notebook.boards import Comparison, Leaderboard
    from lifealign_bench.reporting.notebook.calls import compare, leaderboard, read, report, run, sweep
    from lifealign_bench.reporting.notebook.runs import Run, Runs
    from lifealign_bench.scoring.judging.judge import Judge
    from lifealign_bench.scoring.scorer import Scorer
else:  # unseen by type checkers, so that they know which names there are

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

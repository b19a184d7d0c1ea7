"""Scores of a short run on the GPU against the same run on a processor, by every scorer that has what it needs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpucheck.bench import Bench
from benchmarks.gpucheck.limits import model_folder, short_run
from benchmarks.gpucheck.part import Findings, is_here

# Scorer to the modules that it needs; ``ability`` is asked for otherwise.
SCORERS: dict[str, tuple[str, ...]] = {
    "preference": (),
    "reward": (),
    "distance": (),
    "overlap": ("sacrebleu", "rouge_score"),
    "win": ("alpaca_eval",),
    "ability": ("lm_eval",),
}
# Nats of a margin before anything is trained, that another processor's rounding may make.
_BASE_MARGIN = 0.05


def scores(bench: Bench, findings: Findings) -> None:
    """Two runs, and how far each score is apart at the base model and at the end."""
    from lifealign_bench.runs.run import run

    asked = []
    for name, modules in SCORERS.items():
        absent = [module for module in modules if not is_here(module)]
        if absent:
            findings.say(f"The scorer {name} is left out: {', '.join(absent)} is not here.")
        else:
            asked.append(name)
    more: dict[str, Any] = {"scorers": tuple(name for name in asked if name != "ability")}
    if "win" in asked:
        more["judge"] = "check"
    if "ability" in asked:
        more["abilities"] = ("builtin",)
    with tempfile.TemporaryDirectory() as place:
        model = model_folder(bench, Path(place) / "model")
        here = run(short_run(bench, model, Path(place) / "here", **more))
        there = run(short_run(bench, model, Path(place) / "there", **more, device="cpu"))
        for name, matrix in here.scores.items():
            apart = np.abs(matrix.array() - there.scores[name].array())
            ends = {"base model": apart[0], "end": apart[-1]}
            found = {when: float(np.nanmax(row)) for when, row in ends.items() if not np.isnan(row).all()}
            findings.row({"score": name, **{when: found.get(when) for when in ends}})
            if name == "preference_margin":
                findings.check("the base model's margins differ by nats", found["base model"], _BASE_MARGIN)
    findings.truth("every scorer that is here gave a score", len(here.scores) >= len(more["scorers"]))

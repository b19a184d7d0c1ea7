"""alpaca-eval's outputs: for each task the model's responses and the base model's, ready for any of its judges.

Where the scorer ``win`` has judged already, its folders are taken over whole, verdicts and leaderboard included; they
are what :mod:`lifealign_bench.scoring.winrate.alpaca` describes.
"""

from __future__ import annotations

from dataclasses import replace

from lifealign_bench.config import safe_name
from lifealign_bench.pairs import Message
from lifealign_bench.reporting.exports.stage import StageExport
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.scoring.judging.judge import Contest
from lifealign_bench.scoring.winrate.alpaca import Sides, output_files

_BASE = "base"


def alpacaeval_files(stage: StageExport) -> dict[str, str]:
    """Path below the folder, ``stage-<k>/<task>/<opponent>/<file>``, to content."""
    files = {}
    top = f"stage-{stage.row.stage}"
    base = {(a.task, a.pair_id): a.response for a in replace(stage, row=stage.view.rows[0]).answers}
    for task in stage.view.tasks:
        both = [answer for answer in stage.answers_of(task) if (task, answer.pair_id) in base]
        if not both:
            continue
        contests = [
            Contest(
                tuple(Message(turn["role"], turn["content"]) for turn in answer.prompt),  # type: ignore[arg-type]
                answer.response,
                base[task, answer.pair_id],
                {},
            )
            for answer in both
        ]
        sides = Sides(task, stage.model_id, stage.view.group[1], "")
        for name, text in output_files(sides, contests).items():
            files[f"{top}/{safe_name(task)}/{_BASE}/{name}"] = text
    return files | _judged(stage, top)


def _judged(stage: StageExport, top: str) -> dict[str, str]:
    """What the scorer ``win`` left after the stage."""
    if stage.view.directory is None or stage.view.published is not None:
        return {}
    folder = RunFolder(stage.view.directory).stage(stage.row.stage).path / "alpaca"
    return {
        f"{top}/{file.relative_to(folder).as_posix()}": file.read_text(encoding="utf-8")
        for file in sorted(folder.glob("*/*/*"))
        if file.suffix in (".json", ".csv")
    }

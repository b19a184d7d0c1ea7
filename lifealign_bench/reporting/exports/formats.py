"""The formats by name, and writing a run in one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.exports.alpacaeval import alpacaeval_files
from lifealign_bench.reporting.exports.everyeval import everyeval_files
from lifealign_bench.reporting.exports.inspectlog import inspect_files
from lifealign_bench.reporting.exports.lmeval import lmeval_files
from lifealign_bench.reporting.exports.stage import StageExport
from lifealign_bench.results.view import RunView, StageRow
from lifealign_bench.util.files import write_text
from lifealign_bench.util.hub import repository_name
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

LAST, ALL = "last", "all"


@dataclass(frozen=True)
class ExportFormat:
    """A format of another tool.

    Args:
        files: of a stage: path below the folder to content.
        summary: what it is, in a few words.
    """

    files: Callable[[StageExport], dict[str, str]]
    summary: str


FORMATS = {
    "alpaca-eval": ExportFormat(alpacaeval_files, "model_outputs.json and reference_outputs.json for each task"),
    "inspect": ExportFormat(inspect_files, "a log of inspect_ai for each stage"),
    "lm-eval": ExportFormat(lmeval_files, "results_*.json and samples_*.jsonl of lm-evaluation-harness"),
    "every-eval-ever": ExportFormat(everyeval_files, "records of Every Eval Ever, schema 0.3.0"),
}


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported.

    Args:
        kind: the format's name.
        folder: for the files.
        stages: ``last``, ``all``, or a stage's number.
        model_id: what the trained model is called, ``OWNER/NAME``; empty: by what it was made of.
        force: overwrite what is there and is something else.
    """

    kind: str
    folder: Path
    stages: str = LAST
    model_id: str = ""
    force: bool = False


def export_run(view: RunView, wish: ExportRequest) -> list[Path]:
    """Write the files; gives their places.

    Raises:
        UsageError: no such format or stage, a name that is none, or another file is there.
        BenchError: the run is not finished, or has nothing that the format holds.
    """
    if wish.kind not in FORMATS:
        raise unknown_name("format", wish.kind, FORMATS)
    if wish.model_id and not repository_name(wish.model_id):
        raise UsageError(f"{clean(wish.model_id)!r} is no name of a model.", "Write it as OWNER/NAME.")
    if not view.complete:
        raise BenchError(
            f"The run in {view.directory} is not finished (status: {view.record.status}).",
            "Run the same command again: it goes on where it stopped.",
        )
    files: dict[str, str] = {}
    for row in _rows(view, wish):
        files |= FORMATS[wish.kind].files(StageExport(view, row, wish.model_id))
    if not files:
        raise BenchError(
            f"The run has nothing for {wish.kind}: it kept no responses of such a stage.",
            "Name the run's folder, not a published record, of a run with a scorer of responses (--scorer reward).",
        )
    places = {wish.folder / path: redact(text) for path, text in files.items()}
    for place, text in places.items():
        if not wish.force and place.exists() and _content(place) != text:
            raise UsageError(f"{place} is there, and is something else.", "Name another folder, or use --force.")
    for place, text in places.items():
        write_text(place, text)
    return list(places)


def _rows(view: RunView, wish: ExportRequest) -> list[StageRow]:
    if wish.stages == ALL:
        rows = list(view.rows)
    elif wish.stages == LAST:
        rows = [view.rows[-1]]
    else:
        rows = [row for row in view.rows if str(row.stage) == wish.stages]
        if not rows:
            raise UsageError(
                f"The run has no stage {clean(wish.stages)}.",
                f"It has 0 to {view.rows[-1].stage}; or say last, or all.",
            )
    if wish.model_id and len(rows) > 1:
        raise UsageError("One name cannot be that of several models.", "Leave out --model-id, or name one stage.")
    return rows


def _content(place: Path) -> str | None:
    try:
        return place.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None

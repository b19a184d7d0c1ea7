"""A folder of published records as a data set repository of the hub.

It has the records with their per-pair scores and digests as they lie here, so that ``verify`` checks what was
downloaded; a table of all metrics for each stream, which the hub shows; and ``eval.yaml``, which names the streams as
the tasks of a benchmark, for the entries that pushed runs have of it. No text of the data is among the files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lifealign_bench.config import safe_name
from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.sharing.card import HOME, PAGES, TAG, card_text, made_with, yaml_text
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.leaderboard import short_rank_grid
from lifealign_bench.results.budgets import budget_of
from lifealign_bench.results.leaderboard import make_boards, open_published
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.planned import PLAN_FILE
from lifealign_bench.results.published import digest_file, pair_scores_file, published_records
from lifealign_bench.results.tuning import FOLDER
from lifealign_bench.results.verify import check_results
from lifealign_bench.results.view import RunView
from lifealign_bench.util.hub import HubFile, Push
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.text import rounded

_OWNED = ("tables/*.csv", "*/seed-*.json", "*/seed-*.scores.parquet", "*/seed-*.sha256", f"{FOLDER}/*.json")
_HEADS = (
    *("stream", "model", "method", "seed", "protocol", "budget", "score", "unit", "metric", "value", "low", "high"),
    *("finished", "record"),
)
_MOST = 3  # records that are told


def results_push(folder: Path, *, data_dir: Path | None = None, licence: str | None = None) -> Push:
    """What is pushed of a folder of published records.

    Args:
        data_dir: a copy of the paper's data, which the records are checked against.
        licence: of the records; None: the card names none.

    Raises:
        BenchError: there is no record, or one does not hold.
    """
    if not published_records(folder):
        raise BenchError(
            f"There are no published records in {folder}.",
            "Name the folder of a run, or one that lifealign-bench submit fills.",
        )
    wrong = [state for state in check_results(folder, Origins(data_dir)) if not state.good]
    if wrong:
        more = f" (and {len(wrong) - _MOST} more)" if len(wrong) > _MOST else ""
        told = "; ".join(f"{state.place}: {state.problems[0]}" for state in wrong[:_MOST])
        raise BenchError(f"Not all of {folder} is right: {told}{more}.", f"lifealign-bench verify {folder} tells all.")
    views, _ = open_published([folder])
    tables = {stream: _table(views, folder, stream) for stream in dict.fromkeys(view.group[0] for view in views)}
    files = [
        HubFile("README.md", _card(views, list(tables), licence).encode()),
        HubFile("eval.yaml", yaml_text(_benchmark(list(tables))).encode()),
        *(HubFile(_place(stream), redact(text).encode()) for stream, text in tables.items()),
        *(HubFile(file.relative_to(folder).as_posix(), file) for file in _own(folder)),
    ]
    notes = () if licence is not None else ("the card names no licence: none is known (--licence says one)",)
    return Push("dataset", tuple(files), f"{len(views)} records of lifealign-bench", TAG, _OWNED, notes)


def _own(folder: Path) -> Iterator[Path]:
    """The files of records, the plans of their comparisons, and the tables that their settings were taken from; nothing
    else that lies there."""
    for record in published_records(folder):
        yield from (file for file in (record, pair_scores_file(record), digest_file(record)) if file.is_file())
    yield from sorted(file for file in folder.glob(f"*/{PLAN_FILE}") if not file.is_symlink())
    yield from sorted(file for file in (folder / FOLDER).glob("*/*.json") if not file.is_symlink())


def _place(stream: str) -> str:
    return f"tables/{safe_name(stream)}.csv"


def _table(views: Sequence[RunView], folder: Path, stream: str) -> str:
    """Every metric of every main score of a stream's records, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADS)
    for view in views:
        if view.group[0] == stream:
            writer.writerows(_rows(view, folder))
    return text.getvalue()


def _rows(view: RunView, folder: Path) -> Iterator[tuple[Any, ...]]:
    place = "" if view.published is None else view.published.relative_to(folder).as_posix()
    of = (*view.group, view.name, view.seed, view.protocol, budget_of(view.record.config))
    for score in view.main_scores():
        for metric in METRICS:
            value = rounded(view.metric(score, metric))
            if value is None:
                continue
            interval = view.interval(score, metric)
            ends = (None, None) if interval is None else (rounded(interval.low), rounded(interval.high))
            unit = view.record.scores[score].measured_in
            yield (*of, score, unit, metric, value, *ends, view.record.finished, place)


def _benchmark(streams: Sequence[str]) -> dict[str, Any]:
    """``eval.yaml``, see https://huggingface.co/docs/hub/eval-results."""
    return {
        "name": "lifealign-bench",
        "description": "Continual alignment: a language model is trained through a stream of preference tasks and "
        "scored on all of them after every stage. The value of a task here is the mean over the stream's tasks after "
        "the last stage, in percent, of what the stream is ranked by.",
        "evaluation_framework": TAG,
        "tasks": [{"id": stream, "config": safe_name(stream), "split": "test"} for stream in streams],
    }


def _card(views: Sequence[RunView], streams: Sequence[str], licence: str | None) -> str:
    metadata = {
        **({"license": licence} if licence is not None else {}),
        "pretty_name": "lifealign-bench: published records",
        "tags": [TAG, "benchmark", "leaderboard", "continual-learning", "preference-optimization"],
        "configs": [
            {"config_name": safe_name(stream), "data_files": [{"split": "test", "path": _place(stream)}]}
            for stream in streams
        ],
    }
    methods = len({view.name for view in views})
    versions = sorted({str(view.record.versions.get("lifealign-bench", "?")) for view in views})
    head = (
        f"# lifealign-bench: published records\n\n{len(views)} runs of {methods} methods. "
        f"{made_with(', '.join(versions))} The ranks below follow "
        f"[its rules]({PAGES}/leaderboard.html)."
    )
    boards = [to_markdown(short_rank_grid(board)).replace("### ", "## ", 1) for board in make_boards(views)]
    return card_text(metadata, head, *boards, _FILES, _CHECK)


_FILES = """## Files

`STREAM/MODEL/METHOD/seed-N.json` is the record of a run: settings, versions, hashes of the data, score matrices.
`seed-N.scores.parquet` has the scores of every test pair after every stage, `seed-N.sha256` the hashes of both.
`tables/STREAM.csv` has every metric of every record, with 95 % intervals over the test pairs; it is made from the
records. No file holds text of a data set."""

_CHECK = f"""## Check it

```
pip install {TAG}
lifealign-bench verify FOLDER          # every number again from the per-pair scores
lifealign-bench leaderboard FOLDER     # all boards, with differences, costs and notes
```

A digest finds edits and is no signature. The code: {HOME}"""

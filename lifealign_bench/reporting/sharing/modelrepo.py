"""A finished run as a model repository of the hub: its adapters, its record, its scores, and a card that says it all.

The last stage's adapter lies at the top, where PEFT looks for it; the others have a folder each. Adapters are
safetensors and JSON; no text of the data is among the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.page.run import run_result
from lifealign_bench.reporting.sharing.basemodel import HubOrigin, origin_of
from lifealign_bench.reporting.sharing.card import HOME, TAG, card_text, made_with, yaml_text
from lifealign_bench.reporting.sharing.evalresults import hub_results, model_index
from lifealign_bench.reporting.tables.grid import Grid, escape_markdown, to_markdown
from lifealign_bench.reporting.tables.run import matrix_grid, summary_grid
from lifealign_bench.results.folder import RunFolder, StageFolder
from lifealign_bench.results.record import Record
from lifealign_bench.results.runcheck import view_problems
from lifealign_bench.results.view import RunView
from lifealign_bench.util.hub import HubFile, HubPlace, Push, address_of
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.text import plain_value

_STAGE = StageFolder(Path("stage-*"))
_OWNED = (
    *(f"{_STAGE.path.name}/{file.name}" for file in (_STAGE.adapter_config, _STAGE.weights)),
    ".eval_results/lifealign-bench.yaml",
)
_MOST = 3  # problems that are told
_WHOLE = "whole"  # the layout of methods that put more than an adapter into the model


def model_push(
    view: RunView,
    place: HubPlace,
    *,
    every: bool = False,
    benchmark: str | None = None,
    licence: str | None = None,
) -> Push:
    """What is pushed of a run.

    Args:
        every: all stages' adapters, not the last alone.
        benchmark: the hub's data set whose leaderboard its scores are for.
        licence: of the adapters; None: the base model's, where that is known.

    Raises:
        BenchError: the run is not finished, is not what its files give, or has no adapter.
    """
    stages = _stages(view)
    origin = origin_of(view.record)
    licence = licence or (origin.licence if origin is not None else None)
    source = {"name": "record.json of the run", "url": f"{address_of(place, 'model')}/blob/main/record.json"}
    metadata = _metadata(view, place, origin, licence, source)
    kept = list(stages) if every else []
    card = card_text(
        metadata,
        _head(view, origin),
        f"**{escape_markdown(run_result(view))}** Intervals are over the test pairs, for this seed alone.",
        _use(view, place, origin, kept),
        _scores(view),
        _made(view),
        _bounds(view),
    )
    entries = hub_results(view, benchmark, source) if benchmark is not None else []
    last = max(stages)
    files = [
        HubFile("README.md", card.encode()),
        HubFile("record.json", RunFolder(stages[last].path.parent).record),
        *_adapter(stages[last], "", origin),
        *(file for index in kept for file in _adapter(stages[index], f"stage-{index}/", origin)),
        *([HubFile(_OWNED[-1], yaml_text(entries).encode())] if entries else []),
    ]
    return Push("model", tuple(files), _title(view), TAG, _OWNED, tuple(_notes(view, origin, licence, benchmark)))


def _stages(view: RunView) -> dict[int, StageFolder]:
    """The trained stages by number.

    Raises:
        BenchError: see :func:`model_push`.
    """
    if view.directory is None or view.published is not None:
        raise BenchError(
            f"{view.published or 'A record'} is a record alone: it has no adapters to push.",
            "Name the run's folder. A folder of published records is pushed whole, as a data set.",
        )
    if not view.complete:
        raise BenchError(
            f"The run in {view.directory} is not finished (status: {view.record.status}).",
            "Run the same command again: it goes on where it stopped.",
        )
    problems = view_problems(view)
    if problems:
        more = f" (and {len(problems) - _MOST} more)" if len(problems) > _MOST else ""
        raise BenchError(
            f"{view.directory} is not what its files give: {'; '.join(problems[:_MOST])}{more}.",
            "Run its command again: it does again what is damaged.",
        )
    run = RunFolder(view.directory)
    stages = {stage.index: run.stage(stage.index) for stage in view.trained}
    missing = [i for i, own in stages.items() if not (own.weights.is_file() and own.adapter_config.is_file())]
    if missing or not stages:
        which = f"stage-{missing[0]} of {view.directory}" if missing else view.directory
        raise BenchError(f"There is no adapter in {which}.", "Run its command again: it trains what is missing.")
    return stages


def _adapter(stage: StageFolder, folder: str, origin: HubOrigin | None) -> Iterator[HubFile]:
    """The two files of an adapter; its configuration names the base model by its repository, not by a place here."""
    config: dict[str, Any] = json.loads(stage.adapter_config.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = origin.repository if origin is not None else None
    yield HubFile(f"{folder}{stage.adapter_config.name}", redact(json.dumps(config, indent=2) + "\n").encode())
    yield HubFile(f"{folder}{stage.weights.name}", stage.weights)


def _metadata(
    view: RunView, place: HubPlace, origin: HubOrigin | None, licence: str | None, source: dict[str, str]
) -> dict[str, Any]:
    base = {"base_model": origin.repository, "base_model_relation": "adapter"} if origin is not None else {}
    return {
        **({"license": licence} if licence is not None else {}),
        **base,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": [TAG, "continual-learning", "preference-optimization", "lora", f"{TAG}-{view.name}"],
        "model-index": model_index(view, place.name, source),
    }


def _title(view: RunView) -> str:
    return f"{view.name} on {view.group[0]}, seed {view.seed}, by lifealign-bench"


def _head(view: RunView, origin: HubOrigin | None) -> str:
    stream, model = map(escape_markdown, view.group)
    name = escape_markdown(view.name)
    base = f"[{origin.repository}](https://huggingface.co/{origin.repository})" if origin is not None else model
    tasks = ", ".join(escape_markdown(task) for task in view.tasks)
    return (
        f"# {name} on {stream}, stage {view.rows[-1].stage} of {view.rows[-1].stage}\n\nA LoRA adapter for {base} "
        f"({model} in the benchmark), trained by the continual-learning method **{name}** through the "
        f"stream **{stream}** with seed {view.seed} ({view.protocol}): {tasks}, in this order. "
        f"{made_with(view.record.versions.get('lifealign-bench', '?'))}"
    )


def _use(view: RunView, place: HubPlace, origin: HubOrigin | None, kept: list[int]) -> str:
    parts = ["## Use"]
    if view.record.model.layout == _WHOLE:
        parts.append(
            "**The adapter alone is not the model that was scored**: this method puts more than an adapter into the "
            "model. Run the benchmark to use it."
        )
    elif origin is not None:
        parts.append(
            "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{origin.repository}")\n'
            f'model = PeftModel.from_pretrained(base, "{place.repository}")\n```'
        )
    else:
        parts.append("The base model is no repository of the hub: PEFT needs it given.")
    if origin is not None and origin.note:
        parts.append(origin.note)
    if kept:
        folders = ", ".join(f"`stage-{index}`" for index in kept)
        parts.append(f"The adapters after every stage are in {folders} (`subfolder=` of `from_pretrained`).")
    return "\n\n".join(parts)


def _scores(view: RunView) -> str:
    scores = view.main_scores()
    grids = [*(matrix_grid(view, score) for score in scores), *([summary_grid(view, scores)] if scores else [])]
    return "\n".join(["## Scores\n", *map(to_markdown, grids)])


def _made(view: RunView) -> str:
    record = view.record
    settings = {
        "method": view.name,
        "settings of the method": record.method.settings,
        "SHA-256 of the method's file": record.method.source_sha256,
        "stream": view.group[0],
        "seed": view.seed,
        "base model": f"{view.group[1]}, fingerprint {record.model.fingerprint}",
        "training": record.config.get("training"),
        "adapter": record.config.get("adapter"),
        "tuned": None if record.tuned is None else "rate and strength were tuned on held-out pairs",
        "finished": record.finished,
        "commit": f"{record.git.get('commit')}{', with changes' if record.git.get('dirty') else ''}",
        "versions": record.versions,
    }
    rows = tuple((name, plain_value(value)) for name, value in settings.items() if value not in (None, {}))
    data = tuple(
        (task, str(own.version), str(own.train_pairs), str(own.test_pairs), own.test_digest[:16])
        for task, own in record.data.items()
    )
    heads = ("task", "version", "training pairs", "test pairs", "digest of the test pairs")
    grids = [
        Grid("What was run", ("what", "value"), rows, ("All of it is in record.json.",), prose=(0, 1), labels=2),
        Grid("Data", heads, data),
    ]
    return "\n".join(["## How it was made\n", *map(to_markdown, grids)])


def _bounds(view: RunView) -> str:
    return (
        "## What it is not\n\nOne run says nothing of another seed, and the scores are of the tasks of this stream "
        f"alone. How methods are ranked over seeds: [the leaderboard]({HOME}/blob/main/results/LEADERBOARD.md). The "
        "adapter was trained to study forgetting, not to be safe or useful; what it says was not looked at beyond the "
        "scores above."
    )


def _notes(view: RunView, origin: HubOrigin | None, licence: str | None, benchmark: str | None) -> Iterator[str]:
    if origin is None:
        yield "the card names no base model of the hub: this one is none that is known here"
    if licence is None:
        yield "the card names no licence: none is known (--licence says one)"
    if benchmark is None:
        yield "no .eval_results: --benchmark USER/NAME names the data set whose leaderboard the scores are for"
    for path in _places(view.record):
        yield f"record.json names a place of this machine: {path}"


def _places(record: Record) -> list[str]:
    config = record.config
    words = [config.get("method"), config.get("model"), config.get("stream"), *record.tasks]
    return [word for word in words if isinstance(word, str) and Path(word).is_absolute()]

"""One run as sections of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lifealign_bench.reporting.figures.figure import Bar, Figure
from lifealign_bench.reporting.figures.run import (
    cost_figure,
    curve_figure,
    effort_figure,
    heat_figure,
    length_figure,
    margin_figure,
    slug,
    transfer_figure,
)
from lifealign_bench.reporting.page.content import (
    Block,
    Browser,
    Facts,
    Gallery,
    Prose,
    Section,
    Table,
    Tile,
    Tiles,
    flat,
)
from lifealign_bench.reporting.page.texts import Texts, collect_histories, select_texts
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.reporting.tables.run import cost_grid, other_grid, summary_grid, task_grid
from lifealign_bench.reporting.tables.scores import (
    ability_grid,
    movement_grid,
    quartile_grid,
    response_grid,
    reward_grid,
    win_grid,
)
from lifealign_bench.results.folder import StageResponses
from lifealign_bench.results.history import stage_responses
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import DASH, duration, file_size, number

_TILES = ("last", "average_performance", "backward_transfer", "forgetting", "learning")
_DISTRIBUTIONS = ("preference_margin", "policy_margin")


def run_title(view: RunView) -> str:
    """``lifealign on forms, both phases, seed 0``."""
    return f"{view.name} on {view.group[0]}, {view.protocol}, seed {view.seed}"


def run_result(view: RunView) -> str:
    """What came of the run, in one sentence."""
    if not view.complete:
        return f"{run_title(view)} is not complete (status: {view.record.status}): it has no metrics and no rank."
    if not view.main_scores():
        return f"{run_title(view)} has no score with any value."
    score = view.main_scores()[0]
    matrix = view.record.scores[score]
    base = number(float(matrix.array()[0].mean()), matrix.digits)
    of = ", ".join(filter(None, (score_title(score), matrix.measured_in)))
    mean = f"on average over the {len(view.tasks)} tasks of {view.group[0]} ({of})"
    text = f"{view.name} ends at {_told(view, score, 'last')} {mean}; the base model has {base}."
    if math.isfinite(view.metric(score, "forgetting")):
        points = " points" if matrix.percent else ""
        text += f" Earlier tasks lost {_told(view, score, 'forgetting')}{points} on average."
    return text


def _told(view: RunView, score: str, metric: str) -> str:
    """``97.2 [92.7, 98.7]``."""
    found = view.interval(score, metric)
    bar = Bar(view.metric(score, metric), *((found.low, found.high) if found is not None else ()))
    return bar.said(view.record.scores[score].digits)


def run_sections(view: RunView, prefix: str, data_dir: Path | None, budget: int, beside: bool = False) -> list[Section]:
    """The sections of a run's report.

    Args:
        prefix: before every id, so that runs can be in one page.
        data_dir: where the texts of the paper's tasks are.
        budget: bytes of generations.
        beside: whether there are other runs, of which the same pairs are to be shown.

    Raises:
        BenchError: a file of generations is damaged.
    """
    said = stage_responses(view)
    texts = select_texts(view, collect_histories(view, said, data_dir), budget, beside)
    scores = view.main_scores()
    parts: list[tuple[str, str, list[Block], bool]] = [
        ("summary", "Summary", _summary(view, scores, prefix), False),
        ("scores", "Scores through the stages", _scores(view, scores), False),
        ("forgetting", "Learning and forgetting", _forgetting(view, scores, prefix), False),
        ("margins", "Margins", _margins(view, prefix), False),
        ("responses", "Responses", _responses(view, said, prefix), False),
        ("cost", "Cost", _cost(view, scores, prefix), False),
        ("other", "Other scores", _other(view, scores, prefix), True),
        ("judges", "Rewards, judges and abilities", _judges(view, prefix), False),
        ("configuration", "Configuration", _configuration(view.record), False),
        ("provenance", "Provenance", _provenance(view.record), False),
        # Last, since they are long.
        ("generations", "Generations", _generations(texts, prefix), False),
    ]
    return [
        Section(prefix + name, title, tuple(_prefixed(block, prefix) for block in blocks), folded)
        for name, title, blocks, folded in parts
        if blocks
    ]


def _prefixed(block: Block, prefix: str) -> Block:
    if isinstance(block, Gallery):
        return Gallery(tuple(replace(figure, id=prefix + figure.id) for figure in block.figures))
    return block


def _pictures(*figures: Figure | None) -> list[Block]:
    found = tuple(figure for figure in figures if figure is not None)
    return [Gallery(found)] if found else []


def _tables(prefix: str, grids: Mapping[str, Grid | None]) -> list[Block]:
    return [Table(prefix + name, grid) for name, grid in grids.items() if grid is not None]


def _summary(view: RunView, scores: Sequence[str], prefix: str) -> list[Block]:
    blocks: list[Block] = []
    if not view.complete:
        blocks.append(Prose(f"{run_result(view)} {view.record.error or ''}".strip(), warning=True))
    if scores:
        matrix = view.record.scores[scores[0]]
        unit = f", {matrix.measured_in}" if matrix.measured_in else ""
        text = f"{score_title(scores[0]).capitalize()}{unit}; below each number its 95 % interval over the test pairs."
        blocks.append(Prose(text))
        blocks.append(Tiles(tuple(_tile(view, scores[0], metric) for metric in _TILES)))
        blocks.append(Table(f"{prefix}table-summary", summary_grid(view, scores)))
    else:
        blocks.append(Prose("No score has any value."))
    return blocks


def _tile(view: RunView, score: str, metric: str) -> Tile:
    value, interval = view.metric(score, metric), view.interval(score, metric)
    digits = view.record.scores[score].digits
    info = METRICS[metric]
    detail = "not defined" if math.isnan(value) else "interval not known"
    if interval is not None and not math.isnan(value) and not math.isnan(interval.low):
        detail = f"{number(interval.low, digits)} to {number(interval.high, digits)}"
    return Tile(info.label, number(value, digits), detail, info.meaning)


def _scores(view: RunView, scores: Sequence[str]) -> list[Block]:
    return _pictures(*(draw(view, score) for score in scores for draw in (heat_figure, curve_figure)))


def _forgetting(view: RunView, scores: Sequence[str], prefix: str) -> list[Block]:
    tables = {f"table-tasks-{slug(score)}": task_grid(view, score) for score in scores}
    return [*_pictures(*(transfer_figure(view, score) for score in scores)), *_tables(prefix, tables)]


def _margins(view: RunView, prefix: str) -> list[Block]:
    blocks = _pictures(*(margin_figure(view, score) for score in _DISTRIBUTIONS))
    return blocks + _tables(prefix, {"table-movement": movement_grid(view), "table-quartiles": quartile_grid(view)})


def _responses(view: RunView, said: StageResponses, prefix: str) -> list[Block]:
    return [*_pictures(length_figure(view, said)), *_tables(prefix, {"table-responses": response_grid(view, said)})]


def _generations(texts: Texts | None, prefix: str) -> list[Block]:
    return [] if texts is None else [Browser(f"{prefix}browser", texts)]


def _cost(view: RunView, scores: Sequence[str], prefix: str) -> list[Block]:
    effort = effort_figure(view, scores[0]) if scores else None
    blocks = _pictures(cost_figure(view), effort)
    return blocks + _tables(prefix, {"table-cost": cost_grid(view) if view.record.stages else None})


def _other(view: RunView, scores: Sequence[str], prefix: str) -> list[Block]:
    others = [score for score in view.scores() if score not in scores]
    return [*_tables(prefix, {"table-other": other_grid(view)}), *_pictures(*(heat_figure(view, s) for s in others))]


def _judges(view: RunView, prefix: str) -> list[Block]:
    """The tables of what judged the run and of general abilities, and all that scorers say of themselves."""
    record = view.record
    grids = {"reward-model": reward_grid(view), "win-rates": win_grid(view), "abilities": ability_grid(view)}
    blocks = _tables(f"{prefix}table-", grids)
    for name, facts in record.facts.items():
        if facts.run:
            blocks.append(Facts(f"Scorer {name}", tuple(flat(facts.run)), folded=True))
        if facts.stages:
            blocks.append(Facts(f"Scorer {name}, by stage and task", tuple(flat(facts.stages)), folded=True))
    if record.abilities:
        abilities = {name: ability.model_dump(mode="json") for name, ability in record.abilities.items()}
        blocks.append(Facts("Abilities, test by test", tuple(flat(abilities)), folded=True))
    if record.abilities_left_out:
        blocks.append(Facts("Abilities that could not be tested", tuple(flat(record.abilities_left_out))))
    return blocks


def _configuration(record: Record) -> list[Block]:
    blocks: list[Block] = [Facts("Run", tuple(flat(record.config)))]
    if record.method.settings:
        blocks.append(Facts(f"Method {record.method.name}, as it was used", tuple(flat(record.method.settings))))
    return blocks


def _provenance(record: Record) -> list[Block]:
    git = record.git
    code = {"commit": git.get("commit") or "unknown (an installed package)", "uncommitted changes": git.get("dirty")}
    run: dict[str, Any] = {
        "status": record.status,
        "begun": record.created,
        "finished": record.finished,
        "attempts": record.attempts,
        "seed": record.config.get("seed"),
        "time in all": duration(sum(sum(stage.seconds.values()) for stage in record.stages)),
        "configuration (hash)": record.config_hash,
        "schema of the record": record.schema_version,
        **code,
    }
    machine = {
        key.removesuffix("_bytes").replace("_", " "): file_size(value) if key.endswith("_bytes") and value else value
        for key, value in record.hardware.items()
    }
    machine["peak memory"] = file_size(record.peak_memory_bytes) if record.peak_memory_bytes else DASH
    data = {task: content.model_dump(mode="json", exclude={"cleaning"}) for task, content in record.data.items()}
    cleaning = {task: content.cleaning for task, content in record.data.items()}
    return [
        Facts("Run", tuple(flat(run))),
        Facts("Model", tuple(flat({k.replace("_", " "): v for k, v in record.model.model_dump(mode="json").items()}))),
        Facts("Method", (("name", record.method.name), ("hash of its file (SHA-256)", record.method.source_sha256))),
        Facts("Versions", tuple(flat(record.versions))),
        Facts("Machine", tuple(flat(machine))),
        Facts("Data: versions, sizes, hashes", tuple(flat(data)), folded=True),
        Facts("Data: cleaning", tuple(flat(cleaning)), folded=True),
    ]

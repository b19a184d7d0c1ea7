"""Whether a run's record says what its folder holds: its numbers are computed again, its files have their digests.

A finished run is believed no more than its files: every command that shows one says what this finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lifealign_bench.results.checks import form_problems, metric_problems, number_problems, same_number
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.pairtable import PairBlock, read_pair_file, read_stages
from lifealign_bench.results.published import digest_file, digest_problem, pair_scores_file
from lifealign_bench.results.record import AbilityStage, Record, StageRecord
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.statistics import mean_and_se
from lifealign_bench.results.view import RunView
from lifealign_bench.util.files import read_regular, sha256_file

_MOST_MARKER = 64 << 20  # bytes
_MOST = 3  # of a run; verify tells all


def doubts_of(views: Iterable[RunView]) -> list[str]:
    """What is wrong with the runs, the first things of each: its place, and what."""
    lines = []
    for view in views:
        problems = view_problems(view)
        place = view.published or view.directory
        lines += [f"{place}: {problem}" for problem in problems[:_MOST]]
        if len(problems) > _MOST:
            lines.append(f"{place}: and {len(problems) - _MOST} more")
    return lines


def view_problems(view: RunView) -> list[str]:
    """What is wrong with the record of a run, with what it is made from, or with the run of ``single`` that it is shown
    against; empty where a record is alone, or not complete."""
    if view.directory is None or not view.complete:
        return []
    if view.published is not None:
        found = _published_problems(view.record, view.published)
    else:
        found = record_problems(view.record, view.directory) + list(file_problems(view.record, view.directory))
    single = view.single.path
    if single is not None:
        others = view_problems(RunView.open(single))
        found += [f"{view.single.name}, which its intransigence is against: {p}" for p in others]
    return list(dict.fromkeys(found))


def _published_problems(record: Record, file: Path) -> list[str]:
    problem = digest_problem(file) if digest_file(file).exists() else ""
    found = ([problem] if problem else []) + form_problems(record) + field_problems(record)
    try:
        blocks = read_pair_file(pair_scores_file(file))
    except (OSError, ValueError) as error:
        return [*found, f"{pair_scores_file(file).name} cannot be read ({_reason(error)}): no intervals from it"]
    return found or number_problems(record, blocks)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def record_problems(record: Record, folder: Path) -> list[str]:
    """Where the record of a complete run is not what its folder's files give, or these cannot be read.

    Args:
        folder: of the run. Scores that its files have beyond the record's are no contradiction: they are being added.
            Where it holds a record alone, only that can be held against itself.
    """
    run = RunFolder(folder)
    if not any(run.stage(stage.index).path.is_dir() for stage in record.stages):
        return [] if form_problems(record) else metric_problems(record)
    found = form_problems(record) + field_problems(record)
    if found:
        return found
    stages, failed = read_stages(folder, [stage.index for stage in record.stages])
    for file, error in failed.items():
        place = file.relative_to(folder).as_posix()
        found.append(f"{place} cannot be read ({_reason(error)}): no intervals from it")
    if not found:
        blocks = {i: {task: _known(block, record) for task, block in tasks.items()} for i, tasks in stages.items()}
        found += number_problems(record, blocks)
    for stage in record.stages:
        found += _cost_problems(stage, _marker(run.stage(stage.index).trained))
    return found + _ability_problems(record, folder)


def made_from_problems(record: Record, folder: Path) -> list[str]:
    """:func:`record_problems`, and damage of the tables that the record is made from: why it has to be made again."""
    return list(dict.fromkeys([*record_problems(record, folder), *file_problems(record, folder, ".parquet")]))


def file_problems(record: Record, folder: Path, ending: str = "") -> Iterator[str]:
    """The files of a run that are not what its stages' markers say: adapters, states of methods, responses, scores.

    Args:
        ending: only of files whose names end so.
    """
    for stage in record.stages:
        inner = RunFolder(folder).stage(stage.index)
        for path in (inner.trained, inner.scored):
            name, marker = path.name, _marker(path)
            hashes = marker.get("files") if marker is not None else None
            if not isinstance(hashes, dict):
                if path.exists():
                    yield f"stage-{stage.index}/{name} is damaged"
                continue
            for key, expected in hashes.items():
                file = inner.path / str(key)
                if not key.endswith(ending):
                    continue
                if not file.is_file():
                    yield f"stage-{stage.index}/{key} is missing"
                elif sha256_file(file) != expected:
                    yield f"stage-{stage.index}/{key} is damaged or was edited: its hash is not the one in {name}"


def _marker(file: Path) -> Mapping[str, Any] | None:
    """A marker's content; None where it cannot be read."""
    try:
        content = json.loads(read_regular(file, _MOST_MARKER))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _known(block: PairBlock, record: Record) -> PairBlock:
    own = {name: values for name, values in block.values.items() if name in record.scores}
    return PairBlock(block.ids, own, block.clusters)


def _cost_problems(stage: StageRecord, marker: Mapping[str, Any] | None) -> list[str]:
    """What the record says of a stage's training beside what the stage itself wrote down."""
    if marker is None:
        return []
    found = []
    for name in ("pairs", "steps", "final_loss"):
        if not same_number(getattr(stage, name), marker.get(name)):
            found.append(f"{name} of stage {stage.index} is {getattr(stage, name)}; the stage says {marker.get(name)}")
    for name in ("seconds", "tokens"):
        said, own = getattr(stage, name), marker.get(name)
        for part, value in own.items() if isinstance(own, dict) else ():
            if not same_number(said.get(part), value):
                found.append(f"{name} ({part}) of stage {stage.index} is {said.get(part)}; the stage says {value}")
    return found


def _ability_problems(record: Record, folder: Path) -> list[str]:
    """Abilities whose values are not those of their items."""
    found: list[str] = []
    items: dict[int, Any] = {}
    for stage in record.stages:
        if any(str(stage.index) in ability.stages for ability in record.abilities.values()):
            file = RunFolder(folder).stage(stage.index).abilities
            try:
                items[stage.index] = _items(file)
            except (OSError, ValueError, KeyError) as error:
                found.append(f"stage-{stage.index}/{file.name} cannot be read ({error})")
    if found:
        return found
    bases = items.get(0, {})
    for name, ability in record.abilities.items():
        for index, frame in items.items():
            said = ability.stages.get(str(index))
            if said is not None and not _is_ability(said, frame.get(name), bases.get(name) if index else None):
                found.append(f"{name} after stage {index} is {said.value}; its items give another value or change")
    return found


def _items(file: Path) -> dict[str, Any]:
    """Ability to its items' values, a series by item."""
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(file, columns=["ability", "item", "value"])
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    return {str(name): own.set_index("item")["value"].astype(float) for name, own in frame.groupby("ability")}


def _is_ability(said: AbilityStage, values: Any, base: Any) -> bool:
    if values is None:
        return False
    shares = [*mean_and_se(values.to_numpy(dtype=float))]
    shares += mean_and_se((values - base.reindex(values.index)).to_numpy(dtype=float)) if base is not None else []
    wanted = [100 * share for share in shares]
    told = [said.value, said.standard_error, said.change, said.change_error]
    return all(same_number(a, b) for a, b in zip(told, [*wanted, None, None], strict=False))


_MOST = 3  # of a run; verify tells all

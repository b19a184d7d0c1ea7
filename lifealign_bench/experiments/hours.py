"""GPU hours of many runs before any of them is begun, by part; from lengths alone, no data and no weights.

The lengths of the paper's tasks are shipped (``paper-lengths.json``, made by ``benchmarks/paper_lengths.py``), so that
the cost of its table can be told where neither the data nor the model is available.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard, load_task
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.decoding import engine_of
from lifealign_bench.experiments.estimate import Gpu, ModelFacts, Shape, estimate_gpu, find_facts, shape_of
from lifealign_bench.method import Method
from lifealign_bench.pairs import Split
from lifealign_bench.runs.rewards import check_rewards
from lifealign_bench.runs.setup import check_rollouts, make_method
from lifealign_bench.scoring.scorer import needs_of
from lifealign_bench.scoring.scorers import load_scorers
from lifealign_bench.training.foresight import foreseen_mixes, mixes_in
from lifealign_bench.training.others import policy_of
from lifealign_bench.training.phases import PHASES, phases_of
from lifealign_bench.training.workload import Lengths, Workload, workload_of
from lifealign_bench.util.progress import TRAIN_WORK

_FILE = Path(__file__).with_name("paper-lengths.json")


# Seconds of a step where that of DPO is 1, as measured on a CPU (docs/performance.md), of methods whose steps take more
# passes than their losses ask for: gradients of memories, and prompts of their own without packing.
STEP_COSTS = {"agem": 2.6, "gem": 2.7, "l2p": 2.2}


@dataclass(frozen=True)
class MethodHours:
    """What the runs of a method take on one GPU.

    Args:
        runs: how many they are.
        seconds: of all of them together, by part.
        refused: why they cannot be done as they are asked for; empty: they can.
    """

    method: str
    runs: int
    seconds: Mapping[str, float]
    refused: str = ""

    @property
    def hours(self) -> float:
        """Of all runs together."""
        return sum(self.seconds.values()) / 3600


@dataclass(frozen=True)
class HoursPlan:
    """The whole table.

    Args:
        engines: what generates the responses.
        assumed: files whose lengths were not measured, as ``task/split``.
    """

    gpu: Gpu
    rows: tuple[MethodHours, ...]
    engines: tuple[str, ...]
    assumed: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Of all that can be done."""
        return sum(row.hours for row in self.rows)

    @property
    def parts(self) -> dict[str, float]:
        """Hours by part, over all methods."""
        found: dict[str, float] = {}
        for row in self.rows:
            for part, seconds in row.seconds.items():
                found[part] = found.get(part, 0.0) + seconds / 3600
        return {part: hours for part, hours in found.items() if hours}


@cache
def _table() -> dict[str, dict[str, object]]:
    table: dict[str, dict[str, object]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return table


def known_lengths(task: str, split: Split, limit: int | None) -> list[Lengths]:
    """The pairs of a file of the paper, as long as they are on the whole.

    Raises:
        BenchError: nothing is known of the task.
    """
    found = _known(task)[split]
    if not isinstance(found, dict):
        raise TypeError(f"{_FILE.name} holds no pairs of {task}/{split}")
    parts = [Lengths(*part) for part in found["parts"]]
    return list(islice(cycle(parts), min(found["pairs"], limit or found["pairs"])))


def plan_hours(configs: Sequence[RunConfig], gpu: Gpu) -> HoursPlan:
    """Of runs of the paper's tasks: those of a method together, each order of its tasks as long as any other.

    Raises:
        BenchError: a task of which nothing is known; a model of which nothing is known.
    """
    tasks = dict.fromkeys(task for config in configs for task in config.tasks)
    assumed = [f"{task}/{split}" for task in tasks for split in _assumed(task)]
    by_method: dict[str, list[RunConfig]] = {}
    for config in configs:
        by_method.setdefault(config.method_name, []).append(config)
    facts: dict[str, ModelFacts] = {}
    works: dict[object, Workload] = {}
    shapes: dict[object, Shape] = {}
    rows = []
    for name, runs in by_method.items():
        seconds: dict[str, float] = {}
        refused = ""
        # What moves no length is the same run; the order of the tasks moves which pairs are replayed, not how many.
        kinds: dict[str, list[RunConfig]] = {}
        for config in runs:
            plain = config.model_copy(update={"seed": 0, "stream": "", "tasks": tuple(sorted(config.tasks))})
            kinds.setdefault(plain.hash(), []).append(config)
        for same in kinds.values():
            config = _at(same[0])
            if config.model not in facts:
                facts[config.model] = find_facts(config)
            method = make_method(config)
            refused = refused or _refused(config, method, facts[config.model])
            if refused:
                continue
            # What a method adds to the adapter moves memory and no time.
            kind = config.model, config.dtype, config.adapter
            if kind not in shapes:
                shapes[kind], _ = shape_of(facts[config.model], config, method, len(method.plan(config.tasks)))
            times = estimate_gpu(config, shapes[kind], _work(config, method, works), gpu, 1).times
            for part, value in times.items():
                took = value * _step_cost(name, method, part) * len(same)
                seconds[part] = seconds.get(part, 0.0) + took
        rows.append(MethodHours(name, len(runs), seconds, refused))
    return HoursPlan(gpu, tuple(rows), tuple(dict.fromkeys(map(engine_of, configs))), tuple(assumed))


def _step_cost(name: str, method: Method, part: str) -> float:
    """How much longer than plain training a step of a phase takes: measured, or a pass for every other policy."""
    if part not in PHASES:
        return 1.0
    others = len({policy_of(what) for what in method.asks(PHASES.get(part).name)})
    return STEP_COSTS.get(name, 1 + others / TRAIN_WORK)


def _known(task: str) -> dict[str, object]:
    if task not in _table():
        raise BenchError(
            f"Nothing is known of the lengths of {task}: hours are told of the paper's tasks alone.",
            "Give --stream order1, order2 or order3; run --dry-run tells the time of any single run.",
        )
    return _table()[task]


@cache
def _card(task: str) -> TaskCard:
    return load_task(task)


def _assumed(task: str) -> list[str]:
    found = _known(task)["assumed"]
    return [str(split) for split in found] if isinstance(found, list) else []


def _at(config: RunConfig) -> RunConfig:
    """The run as a GPU would have it."""
    return config.model_copy(update={"device": "cpu", "dtype": "bfloat16" if config.dtype == "auto" else config.dtype})


def _refused(config: RunConfig, method: Method, facts: ModelFacts) -> str:
    """Why a run would be refused, and what helps; empty where it would not."""
    prompts = [p.prompt for task in config.tasks for p in known_lengths(task, "train", config.train_limit)]
    try:
        check_rewards(config, method, {task: _card(task) for task in config.tasks})
        check_rollouts(facts.config, config, method, prompts)
    except BenchError as error:
        return f"{error.message} {error.remedy}"
    return ""


def _work(config: RunConfig, method: Method, works: dict[object, Workload]) -> Workload:
    """The work of a run; that of a method which does the same as another one is counted once."""
    tasks = list(config.tasks)
    train = {task: known_lengths(task, "train", config.train_limit) for task in tasks}
    test = {task: known_lengths(task, "test", config.test_limit) for task in tasks}
    mixes = foreseen_mixes(config, method, {name: len(pairs) for name, pairs in train.items()})
    scorers = load_scorers(config.scorers)
    generating = [task for task in tasks if "responses" in needs_of(scorers, _card(task))]
    chosen = (
        tuple(p.name for p in phases_of(config, method)),
        method.samples(),
        method.restarts,
        method.reference(config.training.reference),
    )
    key = None if mixes_in(method) else (config.model_copy(update={"method": ""}).hash(), *chosen, *method.plan(tasks))
    if key is None or key not in works:
        found = workload_of(config, method, train, test, generating, mixes=mixes)
        if key is None:
            return found
        works[key] = found
    return works[key]

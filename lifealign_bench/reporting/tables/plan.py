"""What a run would do, before it does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lifealign_bench.methods import effective_settings
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.results.budgets import budget_name, budget_text
from lifealign_bench.util.text import DASH, duration, number, operations

if TYPE_CHECKING:
    from lifealign_bench.experiments.hours import HoursPlan
    from lifealign_bench.experiments.plan import Here, Plan


def plan_grids(plan: Plan) -> list[Grid]:
    """The plan's tables: the run, its tasks, those left out, its stages, memory and time on GPUs."""
    missing = [_missing(plan)] if plan.missing else []
    return [_overview(plan), _tasks(plan), *missing, _stages(plan), _gpus(plan)]


def plan_summary(plan: Plan, launches: Mapping[int, str]) -> dict[str, Any]:
    """The plan as plain JSON values.

    Args:
        launches: the command for each number of GPUs.
    """
    gpus = [
        {
            **asdict(estimate),
            "gpu": estimate.gpu.name,
            "memory_bytes": estimate.memory_bytes,
            "seconds": estimate.seconds,
            "fits": estimate.fits,
            "launch": launches[estimate.count],
        }
        for estimate in plan.gpus
    ]
    here = {**asdict(plan.here), "memory_bytes": plan.here.memory_bytes}
    content = {
        **asdict(plan),
        "here": here,
        "config": plan.config.model_dump(mode="json"),
        "directory": str(plan.directory),
    }
    return content | {"gpus": gpus, "generated_tokens_at_most": plan.generated_tokens_at_most}


def _overview(plan: Plan) -> Grid:
    config = plan.config
    training = config.training
    work = plan.work
    count = len(plan.tasks) + len(plan.missing)
    at_hand = f", {len(plan.tasks)} of them available" if plan.missing else ""
    trained = f"{number(plan.shape.trainable, 0)} of {number(plan.shape.parameters, 0)} parameters trained"
    rows = [
        ("method", config.method),
        ("stream", f"{config.stream} ({count} tasks{at_hand})"),
        ("model", f"{config.model} ({trained})"),
        ("seed", str(config.seed)),
        ("pairs", f"{training.batch_size} a step, cut-off {training.max_length} tokens"),
    ]
    effective = effective_settings(config.method, config.method_settings)
    if effective:
        settings = ", ".join(f"{key} {value}" for key, value in effective.items())
        rows.insert(1, ("method's settings", settings))
    # Imported here: this module is imported without torch.
    from lifealign_bench.training.phases import PHASES

    for name, rate in plan.learning_rates.items():
        phase = PHASES.get(name)
        epochs = plan.epochs[name]
        settings = f"learning rate {rate:g}, {epochs} epoch{'s' if epochs > 1 else ''}{phase.settings(config)}"
        rows.append((phase.title, settings))
    about = "about " if plan.tokens_estimated else ""
    generated = plan.generated_tokens_at_most
    rows += [
        ("trained", f"{about}{number(sum(s.tokens for s in work.stages), 0)} tokens"),
        ("scored", f"{about}{number(sum(s.tokens for s in work.scores), 0)} tokens in {len(work.scores)} scorings"),
        ("generated", f"at most {number(generated, 0)} tokens" if generated else "nothing"),
        ("this machine", _here(plan.here)),
        ("writes to", str(plan.directory)),
    ]
    return Grid("Plan", ("what", "value"), tuple(rows), plan.notices, prose=(1,))


def _here(here: Here) -> str:
    text = f"{here.device}, {here.dtype}: about {_gib(here.memory_bytes)} GiB of memory"
    if here.seconds is not None:
        return f"{text}, about {_long(here.seconds)}"
    if here.memory_bytes > here.machine_bytes:
        return f"{text}; it has {_gib(here.machine_bytes)} GiB"
    return f"{text}; the time is not estimated, since the weights are not here"


def _gib(count: float) -> str:
    return number(count / 2**30)


def _long(seconds: float) -> str:
    days = seconds / 86400
    return f"{number(days)} days" if days >= 2 else duration(seconds)


def _tasks(plan: Plan) -> Grid:
    rows = []
    notes = []
    for task in plan.tasks:
        rows.append(
            (
                task.name,
                number(task.train_pairs, 0),
                number(task.test_pairs, 0),
                number(sum(task.dropped.values()), 0),
                number(task.shortened, 0),
                number(task.cut, 0),
                number(task.tokens_per_pair),
                number(task.overlap, 0),
            )
        )
        if task.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in task.dropped.items())
            notes.append(f"{task.name} dropped: {reasons}.")
    if notes:
        notes.append("show TASK says which rows, and what else cleaning did.")
    notes.append(
        "train, test: pairs that are used; shortened: prompts beyond the cut-off; cut: pairs with a cut response; "
        "both: test prompts that are also training prompts."
    )
    heads = ("task", "train", "test", "dropped", "shortened", "cut", "tokens a pair")
    return Grid("Data", (*heads, "both"), tuple(rows), tuple(notes))


def _missing(plan: Plan) -> Grid:
    notes = ("They are left out of this plan; a run of this stream needs them.",)
    return Grid("Not available", ("task", "why, and what to do"), tuple(plan.missing.items()), notes, prose=(1,))


def _stages(plan: Plan) -> Grid:
    rows: list[tuple[str, ...]] = []
    for stage in plan.work.stages:
        for i, phase in enumerate(stage.phases):
            name = f"{stage.index} {', '.join(stage.tasks)}" if i == 0 else ""
            own = number(stage.pairs, 0) if i == 0 else ""
            rows.append((name, phase.phase, own, *_spent(phase.steps, phase.pairs, phase.tokens, phase.flops)))
    phases = [phase for stage in plan.work.stages for phase in stage.phases]
    steps, pairs, tokens = (sum(getattr(phase, name) for phase in phases) for name in ("steps", "pairs", "tokens"))
    known = [phase.flops for phase in phases if phase.flops is not None]
    own = number(sum(stage.pairs for stage in plan.work.stages), 0)
    rows.append(("all", "", own, *_spent(steps, pairs, tokens, sum(known) if len(known) == len(phases) else None)))
    notes = [
        "own pairs: of the stage's tasks; trained: pairs, each as often as it is trained on; FLOPs: of training "
        "passes, without the reference and a method's own passes.",
        budget_text(budget_name(plan.config.budget, plan.config.budget_factor)),
    ]
    if not plan.work.foreseen:
        notes.append("Pairs that this method mixes in are known only when it runs, and not counted here.")
    heads = ("stage", "phase", "own pairs", "steps", "trained", "tokens", "FLOPs")
    return Grid("Stages", heads, tuple(rows), tuple(notes), labels=2)


def _spent(steps: int, pairs: int, tokens: int, flops: int | None) -> tuple[str, ...]:
    return number(steps, 0), number(pairs, 0), number(tokens, 0), operations(flops)


def _gpus(plan: Plan) -> Grid:
    gpu = plan.gpus[0].gpu
    rows = []
    for estimate in plan.gpus:
        shown = tuple(_long(seconds) if seconds else DASH for seconds in estimate.times.values())
        memory = _gib(estimate.memory_bytes) + ("" if estimate.fits else " !")
        rows.append((str(estimate.count), memory, _long(estimate.seconds), *shown))
    # Imported here: this module is imported without torch.
    from lifealign_bench.experiments.estimate import DECODING_UTILISATION, TRAINING_UTILISATION

    notes = [
        f"Estimates, not measurements: {TRAINING_UTILISATION:.0%} of the published peak in training and scoring, "
        f"{DECODING_UTILISATION:.0%} of the memory's bandwidth in generation; another kind: --gpu NAME. "
        "Not counted: the method's own work between phases, loading the model. "
        + (
            "The layers are split over the GPUs; scoring and generation are not shared then."
            if plan.config.shard
            else "Every GPU holds the whole model."
        ),
    ]
    if not all(estimate.fits for estimate in plan.gpus):
        notes.insert(
            0,
            f"!: more than the {_gib(gpu.memory)} GiB of one {gpu.name}. A smaller token_budget or "
            "generation_batch_size (--set) needs less; so do --activation-checkpointing and --quantization nf4, and "
            "--shard on several GPUs.",
        )
    heads = ("GPUs", "GiB each", "time", *plan.gpus[0].times)
    return Grid(f"On {gpu.name} GPUs", heads, tuple(rows), tuple(notes))


def hours_grid(plan: HoursPlan) -> Grid:
    """GPU hours of many runs, by method and part."""
    parts = list(plan.parts)
    rows = [
        (
            row.method,
            str(row.runs),
            *_hours([row.seconds.get(part, 0.0) / 3600 for part in parts]),
            *_hours([row.hours]),
        )
        for row in plan.rows
        if not row.refused
    ]
    done = sum(row.runs for row in plan.rows if not row.refused)
    rows.append(("all", str(done), *_hours(list(plan.parts.values())), *_hours([plan.hours])))
    # Imported here: this module is imported without torch.
    from lifealign_bench.experiments.estimate import DECODING_UTILISATION, TRAINING_UTILISATION

    notes = [
        f"Stated speeds, not measured ones: {TRAINING_UTILISATION:.0%} of the published peak in training and scoring, "
        f"{DECODING_UTILISATION:.0%} of the memory's bandwidth in generation, where no response ends early. Tokens are "
        "estimated from characters. Not counted: a method's own work between phases, loading the model.",
        "Measured, on a CPU: how much longer than DPO's a step of gem, agem and l2p takes.",
        f"Generation: {', '.join(plan.engines)}.",
    ]
    if plan.assumed:
        notes.append(f"Lengths that were not measured but assumed: {', '.join(plan.assumed)}.")
    notes += [f"{row.method}, {row.runs} runs, is not counted: {row.refused}" for row in plan.rows if row.refused]
    heads = ("method", "runs", *parts, "hours")
    return Grid(f"GPU hours on one {plan.gpu.name}", heads, tuple(rows), tuple(notes))


def hours_summary(plan: HoursPlan) -> dict[str, Any]:
    """The same as plain JSON values."""
    return {
        "gpu": plan.gpu.name,
        "engines": list(plan.engines),
        "assumed": list(plan.assumed),
        "hours": plan.hours,
        "parts": plan.parts,
        "methods": [{**asdict(row), "hours": row.hours} for row in plan.rows],
    }


def _hours(values: list[float]) -> tuple[str, ...]:
    return tuple(number(value) if value else DASH for value in values)

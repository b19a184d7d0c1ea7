"""What is checked of a method, one function a check."""

from __future__ import annotations

import inspect
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic_core import PydanticUndefined
from safetensors.torch import save

from lifealign_bench.config import RunConfig
from lifealign_bench.conformance.trial import (
    MEASURED,
    ROOMY_BUDGET,
    TIGHT_BUDGET,
    Bench,
    Trial,
    TrialFailed,
    configuration,
    in_one_line,
    prepared,
)
from lifealign_bench.conformance.watch import MethodState
from lifealign_bench.conformance.worker import MARK
from lifealign_bench.errors import BenchError
from lifealign_bench.method import MethodConfig
from lifealign_bench.results.tunes import declared
from lifealign_bench.training.checkpoint import load_state, save_state
from lifealign_bench.training.phases import PHASES, TrainedPhase
from lifealign_bench.util.warm import Child, Warm

Result = Literal["pass", "fail", "skip"]
# The module of the processes that train together.
WORKER = "lifealign_bench.conformance.worker"


@dataclass(frozen=True)
class Outcome:
    """How a check went, and what was seen."""

    result: Result
    found: str


def good(found: str) -> Outcome:
    """What was expected."""
    return Outcome("pass", found)


def bad(found: str) -> Outcome:
    """Something else."""
    return Outcome("fail", found)


def skipped(why: str) -> Outcome:
    """Nothing that could be looked at."""
    return Outcome("skip", why)


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Args:
        check: name of the check.
        result: pass, fail, or skip where the method gives nothing to look at.
        expected: what the contract asks for.
        found: what was seen.
        remedy: what to do about a failure; empty otherwise.
    """

    check: str
    result: Result
    expected: str
    found: str
    remedy: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is no failure."""
        return self.result != "fail"

    def as_dict(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class MethodCheck:
    """One thing that the contract asks of every method.

    Args:
        name: short and unique.
        expected, remedy: see :class:`Finding`.
        look: looks at what the bench has done with the method, or has it done first.
    """

    name: str
    expected: str
    remedy: str
    look: Callable[[Bench], Outcome]

    def examine(self, bench: Bench) -> Finding:
        """Look; a run that broke is a failure of the check that asked for it first, and leaves the others nothing."""
        try:
            outcome = self.look(bench)
        except TrialFailed as error:
            outcome = skipped(f"{error.trial} did not come to its end") if error.told else bad(error.reason)
            error.told = True
        except Exception as error:  # noqa: BLE001 - the check calls a stranger's code; what it raises is the finding
            outcome = bad(in_one_line(error))
        remedy = self.remedy if outcome.result == "fail" else ""
        return Finding(self.name, outcome.result, self.expected, outcome.found, remedy)


def _loads(bench: Bench) -> Outcome:
    cls = bench.cls
    module = inspect.getmodule(cls)
    if not (cls.__doc__ or (module is not None and module.__doc__)):
        return bad(f"{cls.__name__} loads, but neither the file nor the class has a docstring")
    return good(f"{cls.__name__}")


def _settings(bench: Bench) -> Outcome:
    config = bench.cls.Config
    if not issubclass(config, MethodConfig):
        return bad(f"{config.__name__} is not a subclass of lifealign_bench.method.MethodConfig")
    rules = config.model_config
    if not rules.get("frozen") or rules.get("extra") != "forbid":
        return bad(f"{config.__name__} changes the rules of MethodConfig: frozen {rules.get('frozen')}")
    for name, field in config.model_fields.items():
        if field.default is PydanticUndefined and field.default_factory is None:
            return bad(f"{config.__name__}.{name} has no default")
        if not field.description:
            return bad(f"{config.__name__}.{name} has no description")
    return good(", ".join(config.model_fields) or "none")


def _tuned(bench: Bench) -> Outcome:
    try:
        found = declared(bench.cls, configuration(bench.method, bench.folder), (0.5, 1.0, 2.0))
    except BenchError as error:
        return bad(f"{error.message} {error.remedy}")
    return good(", ".join(tuned.setting for tuned in found))


SETTINGS = (
    MethodCheck(
        "loads",
        "one class with @register_method and a docstring that says what it is",
        "Mend the file until `lifealign-bench show FILE` shows it.",
        _loads,
    ),
    MethodCheck(
        "settings",
        "a frozen Config whose settings all have a default and a description",
        'Declare each as name: type = Field(default, description="...") in a subclass of MethodConfig.',
        _settings,
    ),
    MethodCheck(
        "tuning",
        "'tunes' names the setting of the learning rate, then a strength of its own if it has one: positive numbers, "
        "each with two factors or more that it allows",
        'Write tunes = (RATE, Tuned("method.strength", factors=(0.1, 1, 10))), or leave it out: then it is the rate.',
        _tuned,
    ),
)


def _both(bench: Bench) -> Outcome:
    trial = bench.whole
    phases = " and ".join(phase.name for phase in trial.session.phases())
    return _scored(trial, range(trial.stages + 1)) or good(f"{trial.stages} stages, {phases} phase")


def _preference(bench: Bench) -> Outcome:
    trial = bench.long
    phases = " and ".join(phase.name for phase in trial.session.phases())
    return _scored(trial, [trial.stages]) or good(f"{trial.stages} stages, {phases} phase")


def _scored(trial: Trial, stages: range | list[int]) -> Outcome | None:
    for stage in stages:
        frame = trial.scores(stage)
        for name in next(iter(trial.session.scorers.values())).scores:
            values = frame[name.name].to_numpy(dtype=float)
            if not np.isfinite(values).all():
                return bad(
                    f"{name.name} after stage {stage} is not finite for {int((~np.isfinite(values)).sum())} pairs"
                )
    return None


COURSE = (
    MethodCheck(
        "both phases",
        "with --sft the run over three tasks completes and every score is finite",
        "Run it yourself for the whole message: run --method FILE --model fake --stream fake --sft.",
        _both,
    ),
    MethodCheck(
        "preference alone",
        "without --sft the run over ten tasks completes and every score is finite",
        "Run it yourself for the whole message: run --method FILE --model fake --stream fake. A hook must not rely on "
        "a supervised phase having been there.",
        _preference,
    ),
)


def _plain(bench: Bench) -> Outcome:
    found = bench.seen(lambda watch: list(watch.not_plain))
    if found:
        return bad(found[0])
    values = [v for state in bench.watch.states.values() for v in state.values()]
    tensors = sum(isinstance(v, torch.Tensor) for v in values)
    return good(f"{tensors} tensors and {len(values) - tensors} plain values in all" if values else "no state")


def _survives(bench: Bench) -> Outcome:
    trial = bench.whole
    file = bench.folder / "state.safetensors"
    fresh = prepared(trial.config).method
    for (stage, phase), state in reversed(bench.watch.states.items()):
        save_state(file, state)
        fresh.load_state_dict(load_state(file))
        difference = same_state(state, fresh.state_dict())
        if difference:
            return bad(f"after the {phase} phase of stage {stage}: {difference}")
    return good(f"{len(bench.watch.states)} times the same, to the bit")


STATE = (
    MethodCheck(
        "state is plain",
        "state_dict() gives tensors, texts, numbers, and lists of texts or numbers, by name",
        "Turn tuples and sets into lists, arrays into tensors, nested things into keys like 'fisher/NAME'.",
        _plain,
    ),
    MethodCheck(
        "state survives saving",
        "saved, loaded into a new instance and asked again, state_dict() gives the same",
        "load_state_dict has to take back all that state_dict gives, in the type it was given.",
        _survives,
    ),
)


def _resumes(phase: TrainedPhase, bench: Bench) -> Outcome:
    whole = bench.whole
    phases = whole.session.phases()
    if phase not in phases:
        return skipped(f"the method has no {phase.name} phase")
    first = min(2, whole.stages)
    # Once is enough to the end of the run.
    last = whole.stages if phase is phases[-1] else first
    resumed = bench.resumed(first, phase, last)
    for stage in range(first, last + 1):
        for what, a, b in (
            ("the adapter", whole.weights(stage), resumed.weights(stage)),
            ("the method's state", whole.state(stage), resumed.state(stage)),
        ):
            difference = same_state(a, b)
            if difference:
                return bad(f"after stage {stage}, {what}: {difference}")
        if not whole.scores(stage).equals(resumed.scores(stage)):
            return bad(f"after stage {stage}: scores differ in {_columns(whole.scores(stage), resumed.scores(stage))}")
    return good(f"stopped in stage {first}: the same weights, state and scores, to the bit")


def _columns(a: pd.DataFrame, b: pd.DataFrame) -> str:
    return ", ".join(column for column in a.columns if not a[column].equals(b[column]))


_REMEDY = (
    "Hooks may depend on their arguments, the settings and the state alone. After a stop, a new instance gets "
    "load_state_dict (of the phase before), before_stage, load_state_dict (of the checkpoint): put into state_dict "
    "what pair_loss, penalty and on_gradients change, and draw random numbers from stage.generator."
)

RESUME = tuple(
    MethodCheck(
        f"resumes in {phase.name}",
        f"stopped after a step of a {phase.title} phase and continued, the run ends as one that was not stopped",
        _REMEDY,
        partial(_resumes, phase),
    )
    for phase in PHASES.values()
)


def _training(bench: Bench) -> Outcome:
    return same_training(bench.whole, bench.regrouped, range(1, min(2, bench.whole.stages) + 1))


def _scoring(bench: Bench) -> Outcome:
    session = bench.regrouped.session
    pairs = [p for encoded in (*session.train.values(), *session.test.values()) for p in encoded]
    alone = replace(session.speaker, token_budget=max(p.tokens for p in pairs)).score(pairs)
    apart = float((alone - replace(session.speaker, token_budget=ROOMY_BUDGET).score(pairs)).abs().max())
    if not apart <= SCORE_TOLERANCE:
        return bad(f"log-probabilities differ by up to {apart:.2g} nats")
    return good(f"log-probabilities differ by at most {apart:.1g} nats")


# Rounding in float32 moves weights by some 1e-6 of what training moves them, and log-probabilities by some 1e-5.
WEIGHT_TOLERANCE = 1e-3

SCORE_TOLERANCE = 1e-3

PASSES = (
    MethodCheck(
        "passes in training",
        f"with {TIGHT_BUDGET} and {ROOMY_BUDGET} tokens a pass, adapters and scores are within {WEIGHT_TOLERANCE:g}",
        "pair_loss sees a part of a step's pairs, as many as fit: no mean, rank or other statistic over the batch, one "
        "loss a pair. What belongs to the step goes into penalty or on_gradients.",
        _training,
    ),
    MethodCheck(
        "passes in scoring",
        f"pairs scored one by one and together have the same log-probabilities within {SCORE_TOLERANCE:g} nats",
        "What prepare changes on the model has to treat every row of a batch by itself, and padding as nothing.",
        _scoring,
    ),
)


def _leaves(bench: Bench) -> Outcome:
    left = bench.seen(lambda watch: watch.left)
    if left:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        return bad(f"{left[0]}{more}")
    return good(f"{len(bench.watch.states)} phases left the model as they found it")


def _draws(bench: Bench) -> Outcome:
    draws = bench.seen(lambda watch: list(watch.draws))
    return bad(f"moved by {', '.join(draws)}") if draws else good("none was moved")


TRACES = (
    MethodCheck(
        "leaves no trace",
        "after after_stage, hooks, patched forwards, frozen parameters, gradients and modes are as before before_stage",
        "Undo in after_stage what before_stage did: keep the handles of hooks and remove them, put requires_grad, mode "
        "and threads back, set gradients to None.",
        _leaves,
    ),
    MethodCheck(
        "own randomness",
        "no hook moves the global generators of torch, random or numpy",
        "Draw from stage.generator alone: torch.randperm(n, generator=stage.generator).",
        _draws,
    ),
)


# Python keeps lists larger than they are, and objects beside the text that they hold.
_OTHER_FACTOR = 2

_OTHER_SLACK = 2048


def _grows(bench: Bench) -> Outcome:
    first, last = MEASURED
    trial = bench.long
    if trial.stages < last:
        return skipped(f"the method makes {trial.stages} stage of ten tasks")
    a, b = bench.memory[first], bench.memory[last]
    between = f"from stage {first} to {last}"
    stages = last - first
    # At least one more a stage is growth; a few more or less is what the harness happens to hold.
    more = (b.tensors - a.tensors) - (b.state_tensors - a.state_tensors)
    if more >= stages:
        return bad(f"{more} more tensors alive {between} than its state explains")
    accounted = max(0, b.state_tensor_bytes - a.state_tensor_bytes)
    beyond = b.tensor_bytes - a.tensor_bytes - accounted
    if beyond > accounted + _OTHER_SLACK:
        return bad(f"{beyond:,} bytes of tensors more {between} than its state explains")
    other = b.other_bytes - a.other_bytes
    if other > _OTHER_FACTOR * max(0, b.state_other_bytes - a.state_other_bytes) + _OTHER_SLACK:
        return bad(f"{other:,} bytes of lists, texts and arrays more {between} than its state explains")
    return good(f"{between} its state grew by {accounted / stages:,.0f} bytes of tensors a stage, nothing else did")


GROWTH = (
    MethodCheck(
        "memory",
        f"over stages {MEASURED[0]} to {MEASURED[1]} of ten, what is alive grows by no more than the state does",
        "Find what is appended to and never emptied: a list of losses keeps their graphs (detach, float()), a list of "
        "pairs' texts belongs to the harness (keep ids, ask stage.find_pairs). What must stay goes into state_dict.",
        _grows,
    ),
)

SECONDS = 300
_LOOK_SECONDS = 0.1


def _two(bench: Bench) -> Outcome:
    whole = bench.whole
    config = configuration(str(_absolute(bench.method)), bench.folder / "processes")
    said = bench.folder / "processes.log"
    warm = bench.warm or Warm(WORKER)
    try:
        codes = _in_two(config, warm, said)
    finally:
        if bench.warm is None:
            warm.close()
    if codes is None:
        return bad(f"two processes were not done after {SECONDS} seconds: one waits for the other")
    if any(codes):
        return bad(f"two processes broke: {_reason(said.read_text(errors='replace'))}")
    other = Trial(config, whole.session, whole.stages, True)
    return same_training(whole, other, range(1, whole.stages + 1))


def _in_two(config: RunConfig, warm: Warm, said: Path) -> list[int] | None:
    """Run in two processes that find each other through a store of this one; what they print goes to ``said``.

    Returns:
        Their exit codes, of those that ended before the first that broke; None where they took too long.
    """
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        "localhost", 0, is_master=True, wait_for_workers=False
    )
    environment = {
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    until = time.monotonic() + SECONDS
    children: list[Child] = []
    try:
        with said.open("ab") as log:
            for rank in ("0", "1"):
                own = environment | {"RANK": rank, "LOCAL_RANK": rank}
                children.append(warm.start([config.model_dump_json()], log.fileno(), log.fileno(), own))
        while time.monotonic() < until:
            codes = [child.poll() for child in children]
            if all(code is not None for code in codes) or any(codes):
                return [code for code in codes if code is not None]
            time.sleep(_LOOK_SECONDS)
        return None
    finally:
        for child in children:
            child.signal(signal.SIGKILL)


def _absolute(method: str) -> str | Path:
    return Path(method).resolve() if method.endswith(".py") else method


def _reason(text: str) -> str:
    """Why the processes broke: by the workers' own word, else the last line of what was said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line.partition(MARK)[2] for line in lines if MARK in line]
    return (told or lines[-1:] or ["no message"])[0]


PROCESSES = (
    MethodCheck(
        "two processes",
        f"two processes, each with its share of every step, come to adapters and scores within {WEIGHT_TOLERANCE:g}",
        "pair_loss sees this process's pairs only, on_gradients sees averaged gradients: whatever else hooks gather or "
        "draw has to come out alike on every process.",
        _two,
    ),
)


def same_state(wanted: MethodState, found: MethodState) -> str | None:
    """What differs first between two states (or two adapters), in words; None where nothing does."""
    for name in (*wanted, *found):
        if name not in found:
            return f"{name!r} is missing"
        if name not in wanted:
            return f"{name!r} is there, which was not saved"
        a, b = wanted[name], found[name]
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            if not _same(a, b):
                return f"{name!r} differs{_by(a, b)}"
        elif type(a) is not type(b):
            return f"{name!r} was of type {type(a).__name__} and is of type {type(b).__name__}"
        elif repr(a) != repr(b):  # not ==, so that NaN is itself and 1 is not 1.0
            return f"{name!r} differs"
    return None


def same_training(one: Trial, other: Trial, stages: Sequence[int]) -> Outcome:
    """Whether two trials came to the same adapters and scores after ``stages``, but for rounding."""
    furthest = 0.0
    start = one.weights(0)
    for stage in stages:
        furthest = distance(start, one.weights(stage), other.weights(stage))
        if not furthest <= WEIGHT_TOLERANCE:
            return bad(f"after stage {stage} the adapters are apart by {furthest:.2g} of the way they came")
    scores, others = (trial.scores(stages[-1]).set_index("pair_id") for trial in (one, other))
    apart = float((scores["preference_margin"] - others["preference_margin"]).abs().max())
    # A method may train weights of its own, which are no adapter's: they too are seen in the scores.
    if not apart <= SCORE_TOLERANCE:
        return bad(f"after stage {stages[-1]} preference margins differ by up to {apart:.2g} nats")
    return good(f"adapters apart by {furthest:.1g} of the way they came, margins by {apart:.1g} nats")


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Type, shape and bytes."""
    first, second = (save({"tensor": t.detach().cpu().contiguous().clone()}) for t in (a, b))
    return bool(first == second)


def _by(a: torch.Tensor, b: torch.Tensor) -> str:
    if a.shape != b.shape:
        return f": shape {tuple(a.shape)} and {tuple(b.shape)}"
    if a.dtype != b.dtype:
        return f": type {a.dtype} and {b.dtype}"
    return f" by up to {(a.detach().double() - b.detach().double()).abs().max().item():.2g}"


def distance(start: Mapping[str, torch.Tensor], a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """How far two adapters that were trained from ``start`` are apart, as a share of how far they came (2-norms)."""
    apart = sum(float((a[k].double() - b[k].double()).square().sum()) for k in a)
    moved = sum(float((a[k].double() - start[k].double()).square().sum()) for k in a)
    return float((apart / moved) ** 0.5) if moved > 0 else float(apart > 0)

"""What happens in one stage: its phases are trained, then the model is scored."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from lifealign_bench.errors import Interrupted
from lifealign_bench.method import Stage
from lifealign_bench.pairs import Pair
from lifealign_bench.results.folder import StageFolder, read_marker, write_marker
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.results.rollouts import read_rollouts, summary_of
from lifealign_bench.results.scores import ScoreInfo, score_matrices
from lifealign_bench.runs.answers import first_answers
from lifealign_bench.runs.foreseen import foreseen, planned_share
from lifealign_bench.runs.resuming import Ledger, begin_stage, move_to, weights_hash
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.spending import Spending
from lifealign_bench.scoring.abilities.measure import measure_stage
from lifealign_bench.scoring.scorers import score_infos
from lifealign_bench.scoring.stage import Known, score_stage
from lifealign_bench.training.checkpoint import Checkpoint, replace_adapter, save_state
from lifealign_bench.training.others import policy_of
from lifealign_bench.training.phases import Sampling, TrainedPhase
from lifealign_bench.training.rollouts import Asking, Rollouts
from lifealign_bench.training.trainer import StageTraining, TrainingResult, train_stage
from lifealign_bench.training.workload import course_of, lengths_of, score_units, workload_of
from lifealign_bench.util.distributed import barrier, broadcast, is_main
from lifealign_bench.util.progress import GENERATION_WORK, TRAIN_WORK, Work
from lifealign_bench.util.seeds import derive_seed

# Of a token, about; good enough for how long it will take.
CHARACTERS = 4.0
Stopped = Callable[[], bool]


def planned_work(session: Session, ledger: Ledger | None) -> Work:
    """The run's work in tokens of a scoring pass, and how much of it an earlier attempt has done."""
    work = workload_of(
        session.config,
        session.method,
        {name: lengths_of(pairs) for name, pairs in session.train.items()},
        {name: lengths_of(pairs) for name, pairs in session.test.items()},
        [n for n in session.data if "responses" in session.exam.needs(n)],
        mixes=foreseen(session),
    )
    total = done = 0.0
    for score in work.scores:
        units = score_units(session.config, score)
        total += units
        done += units * (ledger is not None and score.stage in ledger.scored)
    for stage in work.stages:
        units = stage.tokens * TRAIN_WORK + stage.sampled * GENERATION_WORK + stage.reference_tokens
        total += units
        done += units * (ledger is not None and stage.index in ledger.trained)
    for index in range(len(work.stages) + 1):
        units = asked_work(session, index, len(work.stages))
        total += units
        done += units * (ledger is not None and index in ledger.scored)
    return Work(total, len(work.stages), done)


def asked_work(session: Session, index: int, last: int) -> float:
    """Of the tests of general ability that are due after a stage, in tokens of a scoring pass."""
    asked = sum(test.characters for test in session.abilities.tests) / CHARACTERS
    return asked * session.abilities.due(index, last)


def _save(session: Session, folder: StageFolder, content: dict[str, Any]) -> None:
    """The adapter and the method's state, and the marker that says that they are whole; rank 0 only."""
    folder.path.mkdir(parents=True, exist_ok=True)
    replace_adapter(session.model, folder.adapter)
    save_state(folder.state, session.method.state_dict())
    write_marker(folder.trained, (folder.weights, folder.adapter_config, folder.state), content)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def train_one(session: Session, ledger: Ledger, index: int, stopped: Stopped) -> None:
    """Train stage ``index`` (0: only save the fresh adapter), phase by phase, and mark it trained.

    A phase that is not the stage's last leaves its end in a folder of its own inside the stage's.

    Raises:
        Interrupted: stopped at a checkpoint.
        BenchError: the loss is not finite.
    """
    folder = ledger.directory.stage(index)
    content: dict[str, Any] = {"pairs": 0, "steps": 0, "final_loss": None, "seconds": {}, "tokens": {}}
    content |= {"seen": 0, "flops": {}, "rollouts": {}}
    if index > 0:
        *earlier, last = session.phases()
        content, begun = begin_stage(session, ledger, index, earlier, content)
        session.position = -1  # in between
        for phase in earlier[begun:]:
            content = _train(session, ledger, index, phase, folder.phase(phase.name), content, stopped)
            if is_main():
                _save(session, folder.phase(phase.name), content)
        content = _train(session, ledger, index, last, folder, content, stopped)
    session.position = index
    if is_main():
        _save(session, folder, content)
        for phase in session.phases()[:-1]:
            shutil.rmtree(folder.phase(phase.name).path, ignore_errors=True)
        ledger.trained[index] = read_marker(folder.trained, ledger.notice) or {}
    ledger.trained = broadcast(ledger.trained)


class _PhaseMeter:
    """What a phase has cost so far, an earlier attempt at it included, and what is told of it as it goes on."""

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        index: int,
        phase: TrainedPhase,
        earlier: Mapping[str, Any],
        spending: Spending,
        rollouts: Rollouts,
    ) -> None:
        self.progress, self.ledger, self.index, self.phase = session.progress, ledger, index, phase
        self.spending, self.rollouts = spending, rollouts
        self.tokens = int(earlier.get("tokens", 0))
        # What sampling takes is counted by itself.
        self._began = time.perf_counter() - float(earlier.get("seconds", 0.0)) - rollouts.spent
        self._asked: dict[int, Asking] = {}
        self.planned = 1.0  # planned tokens for each that is trained on

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began - self.rollouts.spent

    def asks(self, step: int, asking: Asking) -> None:
        self._asked[step] = asking

    def stepped(self, step: int, loss: float, tokens: int) -> None:
        self.tokens += tokens
        self.progress.advanced(TRAIN_WORK * tokens * self.planned, step=step, loss=loss, tokens=tokens)

    def logged(self, entry: dict[str, Any]) -> None:
        asking = self._asked.pop(int(entry["step"]), None)
        if asking is not None and asking.rewarded:
            entry = {**entry, "reward": sum(asking.rewarded.values()) / len(asking.rewarded)}
        self.ledger.directory.log(entry)
        names: tuple[str, ...] = ("loss", "grad_norm", "learning_rate", "reward")
        numbers = {key: float(entry[key]) for key in names if key in entry}
        self.progress.logged(self.index, self.phase.name, int(entry["step"]), numbers)

    def kept(self, checkpoint: Checkpoint) -> None:
        checkpoint.finish({"tokens": self.tokens, "seconds": self.seconds, **self.spending.so_far()})


@dataclass(frozen=True)
class _Phase:
    """A phase that is about to be trained; ``stage`` is what its hooks know."""

    session: Session
    ledger: Ledger
    stage: Stage
    kind: TrainedPhase
    folder: StageFolder
    reference: Mapping[str, torch.Tensor]
    spending: Spending
    rollouts: Rollouts

    def train(self, mixed: Sequence[Pair], stopped: Stopped) -> tuple[TrainingResult, _PhaseMeter]:
        """Take the steps on what the method ``mixed``.

        Raises:
            Interrupted: stopped at a checkpoint.
        """
        session, index, kind, notice = self.session, self.stage.index, self.kind, self.ledger.notice
        tasks = session.plan()[index - 1]
        encoded = {p.pair.id: p for pairs in session.train.values() for p in pairs}
        newest = Checkpoint.newest(self.folder.checkpoints, notice) if is_main() else (None, {})
        resume, earlier = broadcast(newest)
        own = [lengths_of(session.train[task]) for task in tasks]
        course = course_of(session.config, session.method, kind, index, own, lengths_of([encoded[p.id] for p in mixed]))
        self.spending.begin(earlier if resume is not None else None)
        session.progress.phase_started(index, kind.part, tasks, course.steps)
        meter = _PhaseMeter(session, self.ledger, index, kind, earlier, self.spending, self.rollouts)
        meter.planned = planned_share(session, kind, index, course, [encoded[p.id] for p in mixed])

        def sampling(step: int) -> Sampling:
            found, asking = session.sampling(self.stage, self.rollouts, step)
            meter.asks(step, asking)
            return found

        training = StageTraining(
            index=index,
            phase=kind,
            pairs=[kind.form(encoded[p.id]) for p in mixed],
            reference=self.reference,
            folder=self.folder.checkpoints,
            resume=resume,
            seed=derive_seed(session.config.seed, "order", index, *kind.order),
            on_step=meter.stepped,
            on_log=meter.logged,
            on_checkpoint=meter.kept,
            notice=session.progress.notice,
            stopped=lambda: broadcast(stopped()),
            on_pairs=self.spending.step,
            course=course,
            sampling=sampling,
        )
        result = train_stage(session.speaker, session.method, session.config, training)
        if not result.complete:
            raise Interrupted(
                f"Stopped in stage {index} at step {result.steps} of {course.steps} ({kind.name} phase); "
                "a checkpoint is saved."
            )
        return result, meter


def _train(
    session: Session,
    ledger: Ledger,
    index: int,
    phase: TrainedPhase,
    folder: StageFolder,
    before: dict[str, Any],
    stopped: Stopped,
) -> dict[str, Any]:
    """Train one phase; what it cost is added to what the phases ``before`` it did."""
    progress, method = session.progress, session.method
    plan = session.plan()
    so_far = [task for tasks in plan[:index] for task in tasks]
    seconds = {"hooks": 0.0, **before["seconds"]}
    reference = _reference(session, index, so_far, seconds) if phase.refers else {}

    others = len({policy_of(what) for what in method.asks(phase.name)})
    spending = Spending(session.pass_cost(), phase.part, before, others)
    if phase.refers:
        referred = so_far if _moving(session) else plan[index - 1]
        spending.refer([p for task in referred for p in session.train[task]])
    rollouts = session.rollouts(index, phase, ledger.directory.stage(index).rollouts)
    stage = session.stage(index, phase, reference, spending.hook, rollouts)
    if method.samples():
        progress.phase_started(index, "rollout", plan[index - 1], 0)
    clock = time.perf_counter()
    method.before_stage(stage, session.model)
    mixed = method.training_pairs(stage, stage.pairs)
    seconds["hooks"] += time.perf_counter() - clock - rollouts.spent

    result, meter = _Phase(session, ledger, stage, phase, folder, reference, spending, rollouts).train(mixed, stopped)
    seconds[phase.part] = meter.seconds
    spent = rollouts.spent
    clock = time.perf_counter()
    method.after_stage(stage, session.model)
    seconds["hooks"] += time.perf_counter() - clock - (rollouts.spent - spent)
    said = _tried(session, ledger, index, spending)
    if said:
        seconds["rollout"] = said["seconds"]
    return {
        "pairs": len(mixed),
        "steps": before["steps"] + result.steps,
        "final_loss": result.final_loss,
        "seconds": seconds,
        "tokens": {**before["tokens"], phase.part: meter.tokens, **({"rollout": said["tokens"]} if said else {})},
        "rollouts": said,
        **spending.total(),
    }


def _tried(session: Session, ledger: Ledger, index: int, spending: Spending) -> dict[str, Any]:
    """Counts of what was sampled in all phases of the stage so far, by this attempt and by earlier ones; empty where
    nothing was."""
    rollouts = broadcast(read_rollouts(ledger.directory.stage(index).rollouts) if is_main() else [])
    prompts = {p.pair.id: len(p.prompt) for pairs in session.train.values() for p in pairs}
    groups: dict[str, list[int]] = {}
    for one in rollouts:
        groups.setdefault(one.group, [prompts[one.pair_id]]).append(len(one.tokens))
    spending.sampled(tuple(sizes) for sizes in groups.values())
    return summary_of(rollouts) if rollouts else {}


def _reference(
    session: Session, index: int, tasks: Sequence[str], seconds: dict[str, float]
) -> Mapping[str, torch.Tensor]:
    """The log-probabilities that a phase refers to, of all pairs of the ``tasks`` so far."""
    clock = time.perf_counter()
    session.progress.phase_started(index, "reference", session.plan()[index - 1], 0)
    found = session.references_now(tasks) if _moving(session) else session.references(tasks)
    seconds["reference"] = time.perf_counter() - clock
    return found


def _moving(session: Session) -> bool:
    """Whether the reference is the policy that a phase starts from."""
    return session.method.reference(session.config.training.reference) == "previous"


def score_one(session: Session, ledger: Ledger, index: int, stopped: Stopped, known: Known | None = None) -> None:
    """Score the model after stage ``index`` and mark it scored.

    Args:
        known: what an earlier scoring left, when scores are added.

    Raises:
        Interrupted: the user asked to stop.
    """
    move_to(session, ledger, index)
    folder = ledger.directory.stage(index)
    weights = weights_hash(ledger.trained[index])
    found, rows = score_stage(session.exam, session.scored_after(index), index, folder.path, weights, stopped, known)
    files = [folder.scores, folder.generations]
    due = session.abilities.due(index, len(session.plan()))
    if due:
        tests = session.abilities.tests
        seconds, tokens = measure_stage(session.speaker, tests, index, folder.path, weights, stopped, known is not None)
        found["seconds"]["ability"] = found["seconds"].get("ability", 0.0) + seconds
        found["tokens"]["ability"] = found["tokens"].get("ability", 0) + tokens
    if due or (known is not None and folder.abilities.is_file()):
        files.append(folder.abilities)
    if is_main():
        content = {"weights": weights, **found}
        write_marker(folder.scored, files, content)
        shutil.rmtree(folder.parts, ignore_errors=True)
        ledger.scored[index] = content
        session.progress.answered(index, first_answers(session, ledger, index))
        session.progress.scored(index, _means(rows, score_infos(session.config)))
    barrier()


def _means(rows: pd.DataFrame, infos: Sequence[ScoreInfo]) -> dict[str, dict[str, float]]:
    """Score to task to the cell of its matrix; without those that are empty."""
    tasks = [str(task) for task in rows["task"].unique()]
    found = {
        name: {task: value for task, value in zip(tasks, matrix.value[0], strict=True) if value is not None}
        for name, matrix in score_matrices(tasks, {0: rows}, 0, infos).items()
    }
    return {name: cells for name, cells in found.items() if cells}


def stage_rows(session: Session, ledger: Ledger) -> dict[int, pd.DataFrame]:
    """Per-pair scores of the stages that are scored, by the row of the score matrix: the number of tasks seen."""
    seen = [0]
    for tasks in session.plan():
        seen.append(seen[-1] + len(tasks))
    return {seen[index]: read_frame(ledger.directory.stage(index).scores) for index in sorted(ledger.scored)}


def ability_frames(session: Session, ledger: Ledger) -> dict[int, pd.DataFrame]:
    """Per-item values of the abilities, by the stage."""
    return {
        index: read_frame(ledger.directory.stage(index).abilities)
        for index in sorted(ledger.scored)
        if session.abilities.due(index, len(session.plan()))
    }

"""What happens in one stage, and what of an earlier attempt at it still stands."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError

from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.results.folder import StageFolder, read_marker, write_marker
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.results.rollouts import read_rollouts, summary_of
from lifealign_bench.results.scores import ScoreInfo, score_matrices
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import derive_seed
from lifealign_bench.scoring.abilities.measure import measure_stage
from lifealign_bench.scoring.scorers import score_infos
from lifealign_bench.scoring.stage import Known, score_stage
from lifealign_bench.training.checkpoint import load_adapter, load_state, replace_adapter, save_state
from lifealign_bench.training.phases import Sampling, TrainedPhase
from lifealign_bench.training.rollouts import Asking
from lifealign_bench.training.trainer import StageTraining, train_stage
from lifealign_bench.training.workload import lengths_of, score_units, workload_of
from lifealign_bench.util.distributed import barrier, broadcast, is_main
from lifealign_bench.util.progress import GENERATION_WORK, TRAIN_WORK, Work

__all__ = ["Ledger", "ability_frames", "planned_work", "score_one", "stage_rows", "train_one"]

CHECKPOINT = "complete.json"
# Of a token, about; good enough for how long it will take.
CHARACTERS = 4.0
Stopped = Callable[[], bool]


class Ledger:
    """The markers of a run's stages, read once and verified; rank 0 reads, all processes know."""

    def __init__(self, directory: RunDirectory, stages: int, notice: Callable[[str], None]) -> None:
        self.directory = directory
        self.notice = notice
        self.trained: dict[int, dict[str, Any]] = {}
        self.scored: dict[int, dict[str, Any]] = {}
        if is_main():
            for index in range(stages + 1):
                self._read(index)
        self.trained, self.scored = broadcast((self.trained, self.scored))

    def _read(self, index: int) -> None:
        folder = self.directory.stage(index)
        trained = read_marker(folder.trained, self.notice)
        scored = read_marker(folder.scored, self.notice)
        # A stage stands on the one before: without its adapter, neither it nor what follows can be continued or scored.
        if trained is None or index - 1 not in self.trained | {-1: {}}:
            return
        self.trained[index] = trained
        # Scores are of these weights or of none.
        if scored is not None and scored.get("weights") == _weights_hash(trained):
            self.scored[index] = scored


def _weights_hash(trained: dict[str, Any]) -> str:
    """Names what was trained: the adapter, and the method's state, which may hold weights of its own."""
    files, here = trained["files"], StageFolder(Path())
    return f"{files[here.weights.as_posix()]} {files[here.state.as_posix()]}"


def planned_work(session: Session, ledger: Ledger | None) -> Work:
    """The run's work in tokens of a scoring pass, and how much of it an earlier attempt has done."""
    work = workload_of(
        session.config,
        session.method,
        {name: lengths_of(pairs) for name, pairs in session.train.items()},
        {name: lengths_of(pairs) for name, pairs in session.test.items()},
        [n for n in session.data if "responses" in session.exam.needs(n)],
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
    asked = sum(a.characters for a in session.abilities.tests) / CHARACTERS
    for index in range(len(work.stages) + 1):
        units = asked * session.abilities.due(index, len(work.stages))
        total += units
        done += units * (ledger is not None and index in ledger.scored)
    return Work(total, len(work.stages), done)


def move_to(session: Session, ledger: Ledger, index: int) -> None:
    """Load the adapter and the method's state after stage ``index``, unless they are loaded.

    Raises:
        BenchError: they do not fit the model.
    """
    if session.position == index:
        return
    _load(session, ledger.directory.stage(index), f"stage {index}")
    session.position = index


def _load(session: Session, folder: StageFolder, what: str) -> None:
    try:
        load_adapter(session.model, folder.adapter)
        session.method.load_state_dict(load_state(folder.state))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise BenchError(
            f"What {what} left in {folder.path} cannot be loaded: {error}.",
            "Delete that run's folder and start again, or use another --out.",
        ) from error


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
    content: dict[str, Any] = {"pairs": 0, "steps": 0, "final_loss": None, "seconds": {}, "tokens": {}, "rollouts": {}}
    if index > 0:
        *earlier, last = session.phases()
        content, begun = _begin(session, ledger, index, earlier, content)
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


def _begin(
    session: Session, ledger: Ledger, index: int, phases: Sequence[TrainedPhase], content: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """Load what the stage goes on from: the end of one of its ``phases``, or of the stage before.

    Returns:
        What was counted so far, and how many phases are done.
    """
    for done in range(len(phases), 0, -1):
        folder = ledger.directory.stage(index).phase(phases[done - 1].name)
        marker = broadcast(read_marker(folder.trained, ledger.notice) if is_main() else None)
        if marker is not None:
            _load(session, folder, f"phase {phases[done - 1].name} of stage {index}")
            # A marker of before there were rollouts has none.
            return {key: marker.get(key, default) for key, default in content.items()}, done
    move_to(session, ledger, index - 1)
    if session.method.restarts and index > 1:
        load_adapter(session.model, ledger.directory.stage(0).adapter)
    return content, 0


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
    config, progress = session.config, session.progress
    plan = session.plan()
    so_far = [task for tasks in plan[:index] for task in tasks]
    seconds = {"hooks": 0.0, **before["seconds"]}
    reference: Mapping[str, torch.Tensor] = {}
    if phase.refers:
        clock = time.perf_counter()
        progress.phase_started(index, "reference", plan[index - 1], 0)
        previous = config.training.reference == "previous"
        reference = session.references_now(so_far) if previous else session.references(so_far)
        seconds["reference"] = time.perf_counter() - clock

    rollouts = session.rollouts(index, phase, ledger.directory.stage(index).rollouts)
    stage = session.stage(index, phase, reference, rollouts)
    if session.method.samples():
        progress.phase_started(index, "rollout", plan[index - 1], 0)
    clock = time.perf_counter()
    session.method.before_stage(stage, session.model)
    mixed = session.method.training_pairs(stage, stage.pairs)
    seconds["hooks"] += time.perf_counter() - clock - rollouts.spent
    encoded = {p.pair.id: p for task in so_far for p in session.train[task]}
    pairs = [phase.form(encoded[p.id]) for p in mixed]

    resume, done = broadcast(_last_checkpoint(folder.checkpoints, ledger.notice) if is_main() else (None, {}))
    steps = phase.steps(config, len(pairs))
    progress.phase_started(index, phase.part, plan[index - 1], steps)
    tokens = int(done.get("tokens", 0))
    # What sampling takes is counted by itself.
    clock = time.perf_counter() - float(done.get("seconds", 0.0)) - rollouts.spent
    steps_asked: dict[int, Asking] = {}

    def spent() -> float:
        return time.perf_counter() - clock - rollouts.spent

    def sampling(step: int) -> Sampling:
        found, steps_asked[step] = session.sampling(stage, rollouts, step)
        return found

    def on_step(step: int, loss: float, new: int) -> None:
        nonlocal tokens
        tokens += new
        progress.advanced(TRAIN_WORK * new, step=step, loss=loss, tokens=new)

    def on_log(entry: dict[str, Any]) -> None:
        asking = steps_asked.pop(int(entry["step"]), None)
        if asking is not None and asking.rewarded:
            entry = {**entry, "reward": sum(asking.rewarded.values()) / len(asking.rewarded)}
        ledger.directory.log(entry)
        names: tuple[str, ...] = ("loss", "grad_norm", "learning_rate", "reward")
        numbers = {key: float(entry[key]) for key in names if key in entry}
        progress.logged(index, phase.name, int(entry["step"]), numbers)

    def on_checkpoint(path: Path) -> None:
        files = [f for f in path.iterdir() if f.is_file() and f.name != CHECKPOINT]
        write_marker(path / CHECKPOINT, files, {"tokens": tokens, "seconds": spent()})

    result = train_stage(
        session.speaker,
        session.method,
        config,
        StageTraining(
            index=index,
            phase=phase,
            pairs=pairs,
            reference=reference,
            folder=folder.checkpoints,
            resume=resume,
            seed=derive_seed(config.seed, "order", index, *phase.order),
            on_step=on_step,
            on_log=on_log,
            on_checkpoint=on_checkpoint,
            notice=progress.notice,
            stopped=lambda: broadcast(stopped()),
            sampling=sampling,
        ),
    )
    if not result.complete:
        raise Interrupted(
            f"Stopped in stage {index} at step {result.steps} of {steps} ({phase.name} phase); a checkpoint is saved."
        )
    seconds[phase.part] = spent()
    before_hook = rollouts.spent
    clock = time.perf_counter()
    session.method.after_stage(stage, session.model)
    seconds["hooks"] += time.perf_counter() - clock - (rollouts.spent - before_hook)
    counts = {**before["tokens"], phase.part: tokens}
    # Of all phases of the stage so far, by this attempt and by earlier ones.
    said = broadcast(summary_of(read_rollouts(ledger.directory.stage(index).rollouts)) if is_main() else {})
    if said["responses"]:
        seconds["rollout"], counts["rollout"] = said["seconds"], said["tokens"]
    return {
        "pairs": len(pairs),
        "steps": before["steps"] + result.steps,
        "final_loss": result.final_loss,
        "seconds": seconds,
        "tokens": counts,
        "rollouts": said if said["responses"] else {},
    }


def _last_checkpoint(folder: Path, notice: Callable[[str], None]) -> tuple[Path | None, dict[str, Any]]:
    """The newest checkpoint whose files are all there and whole; damaged ones are named and removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        # Without its marker a checkpoint was being written when the process ended: no damage, nothing to tell.
        marker = read_marker(checkpoint / CHECKPOINT, notice)
        if marker is not None:
            return checkpoint, marker
        if (checkpoint / CHECKPOINT).is_file():
            notice(f"The checkpoint {checkpoint} is damaged; going back to the one before it.")
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None, {}


def score_one(session: Session, ledger: Ledger, index: int, stopped: Stopped, known: Known | None = None) -> None:
    """Score the model after stage ``index`` and mark it scored.

    Args:
        known: what an earlier scoring left, when scores are added.

    Raises:
        Interrupted: the user asked to stop.
    """
    move_to(session, ledger, index)
    folder = ledger.directory.stage(index)
    weights = _weights_hash(ledger.trained[index])
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

"""Going on with a run that was stopped: whether it may go on, and what of its earlier attempts still stands.

A stage that is trained stands by its marker, a phase of it by one of its own, and inside a phase the newest checkpoint
that is whole (:class:`lifealign_bench.training.checkpoint.Checkpoint`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method
from lifealign_bench.results.folder import RunFolder, StageFolder, read_marker
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import method_source
from lifealign_bench.training.checkpoint import load_adapter, load_state
from lifealign_bench.training.phases import TrainedPhase
from lifealign_bench.util.distributed import broadcast, is_main
from lifealign_bench.util.files import write_json

# Raised with every change after which the same run trains to other numbers: one that an earlier version began is then
# refused, and not continued to stages of which some are trained in one way and some in another.
NUMBERS = 1

_REMEDY = "Continue it with the version that began it, write elsewhere with --out, or delete the folder."


class Ledger:
    """The markers of a run's stages, read once and verified; rank 0 reads, all processes know."""

    def __init__(self, directory: RunDirectory, stages: int, notice: Callable[[str], None]) -> None:
        self.directory = directory
        self.stages = stages
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
        if scored is not None and scored.get("weights") == weights_hash(trained):
            self.scored[index] = scored


def weights_hash(trained: dict[str, Any]) -> str:
    """Names what was trained: the adapter, and the method's state, which may hold weights of its own."""
    files, here = trained["files"], StageFolder(Path())
    return f"{files[here.weights.as_posix()]} {files[here.state.as_posix()]}"


def claim_training(method: Method, name: str, ledger: Ledger) -> None:
    """Make sure that what is still to be trained is trained as what there is: by the same method and :data:`NUMBERS`.

    Raises:
        BenchError: it would not be.
    """
    directory = ledger.directory
    if len(ledger.trained) > ledger.stages:
        return
    now = {"numbers": NUMBERS, "method": method_source(method)}
    began = directory.fixed().get("trained_by")
    if began != now and _has_trained(directory):
        other = "lifealign-bench, which trains to other numbers"
        if began and began.get("numbers") == NUMBERS:
            other = f"the method {name}"
        raise BenchError(f"The run in {directory.path} was begun by another version of {other}.", _REMEDY)
    _write_down(directory, "trained_by", now)


def claim_tokens(session: Session, directory: RunDirectory) -> None:
    """Make sure that the run goes on with the tokens that it began with.

    Raises:
        BenchError: they are others, or it cannot be known.
    """
    digests = session.token_digests()
    began = directory.fixed().get("encoded")
    if began is None:
        changed = session.tokens_changed()
        if changed is not None and _has_trained(directory):
            raise BenchError(
                f"The run in {directory.path} was begun by a version that did not write down its tokens, and "
                f"{changed}.",
                _REMEDY,
            )
        _write_down(directory, "encoded", digests)
        return
    other = [name for name in sorted(digests) if digests[name] != began.get(name)]
    if other:
        raise BenchError(
            f"The texts of {', '.join(other)} are other tokens now than when the run in {directory.path} began: the "
            "tokenizer, its chat template, its clock or a library that reads them is another.",
            "Continue it with those that it began with, write elsewhere with --out, or delete the folder.",
        )


def _write_down(folder: RunFolder, name: str, value: Mapping[str, Any]) -> None:
    content = json.loads(folder.config.read_text(encoding="utf-8"))
    if content["fixed"].get(name) != value:
        write_json(folder.config, {**content, "fixed": {**content["fixed"], name: value}})


def _has_trained(folder: RunFolder) -> bool:
    """Whether anything was trained, or a part of it."""
    return any(
        stage.trained.is_file() or any(stage.path.glob(f"*/{stage.trained.name}")) or any(stage.checkpoints.glob("*"))
        for stage in folder.stages()
    )


def move_to(session: Session, ledger: Ledger, index: int) -> None:
    """Load the adapter and the method's state after stage ``index``, unless they are loaded.

    Raises:
        BenchError: they do not fit the model.
    """
    if session.position == index:
        return
    _load(session, ledger.directory.stage(index), f"stage {index}")
    session.position = index


def begin_stage(
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
            # What an older version trained does not say all that is counted now.
            return {key: marker.get(key) for key in content}, done
    move_to(session, ledger, index - 1)
    if session.method.restarts and index > 1:
        load_adapter(session.model, ledger.directory.stage(0).adapter)
    return content, 0


def _load(session: Session, folder: StageFolder, what: str) -> None:
    try:
        load_adapter(session.model, folder.adapter)
        session.method.load_state_dict(load_state(folder.state))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise BenchError(
            f"What {what} left in {folder.path} cannot be loaded: {error}.",
            "Delete that run's folder and start again, or use another --out.",
        ) from error

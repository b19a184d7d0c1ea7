"""The folder of one run: who may write it, what is finished in it, and what of it can be trusted.

Every file is written under a temporary name and renamed. A part is finished when its marker (``trained.json``,
``scored.json``, a checkpoint's ``complete.json``) is there and the hashes in it are those of the files beside it, so a
process may be killed at any moment, and a damaged file is found before it is used.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lifealign_bench.config import RunConfig, setting_at
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.folder import RunFolder, read_mapping
from lifealign_bench.results.record import SCHEMA_VERSION, Record, read_record, write_record
from lifealign_bench.results.runcheck import file_problems, made_from_problems
from lifealign_bench.results.sameness import is_part_of, setting_differences
from lifealign_bench.scoring.outside import extensions_of
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.files import remove_leftovers, write_json
from lifealign_bench.util.progress import Notice
from lifealign_bench.util.redaction import redact

# Of a run's fixed parts, those that are known when its model is loaded, or ask how far it came; see ``resuming``.
_LATER = ("encoded", "trained_by")

# Settings that say how a model is scored and nothing of how it is trained.
SCORING = frozenset(name for name in RunConfig.model_fields if setting_at(name).scoring and setting_at(name).identity)


def refuse_other_settings(path: Path, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to take the run in folder ``path``, whose settings are ``present``, for one with those ``wanted``.

    Raises:
        BenchError: they differ; names what does.
    """
    _refuse(path, setting_differences(present, wanted))


def _refuse(path: Path, differences: list[str]) -> None:
    if differences:
        scoring = all(text.partition(".")[0].partition(" ")[0] in SCORING for text in differences)
        add = f"To add scores to a finished run: lifealign-bench score {path} --scorer ... " if scoring else ""
        raise BenchError(
            f"The folder {path} holds a run of another configuration: {'; '.join(differences)}.",
            f"{add}Use that configuration to continue it, write elsewhere with --out, or delete the folder.",
        )


def _fits(wanted: Mapping[str, Any], present: Any) -> bool:
    """Whether a run holds all that is ``wanted`` to stay the same; what scored it and is from outside may be more."""
    if not isinstance(present, dict):
        return False
    there = present.get("extensions", {})
    named = {kind: set(origins) for kind, origins in wanted.get("extensions", {}).items()}
    less = {
        kind: {name: origin for name, origin in origins.items() if name in named.get(kind, ())}
        for kind, origins in there.items()
    }
    fewer = {kind: origins for kind, origins in less.items() if origins}
    rest = {key: value for key, value in present.items() if key != "extensions"}
    return dict(wanted) == {**rest, **({"extensions": fewer} if fewer else {})}


def fixed_parts(config: RunConfig, method_sha256: str, data: Mapping[str, TaskData]) -> dict[str, Any]:
    """What beside the configuration must stay the same while a run goes on: its data, and all that is from outside."""
    fixed: dict[str, Any] = {"data": {name: dict(task.hashes()) for name, task in data.items()}}
    if config.method.endswith(".py"):
        fixed["method_file"] = method_sha256
    outside = extensions_of(config)
    if outside:
        fixed["extensions"] = outside
    return fixed


class RunInUse(BenchError):
    """Another process holds the run's folder."""


class RunDirectory(RunFolder):
    """One run's folder, held by this process.

    Use :meth:`open`. In a launch of several processes only rank 0 opens it.
    """

    @classmethod
    @contextmanager
    def open(cls, config: RunConfig, fixed: Mapping[str, Any]) -> Iterator[RunDirectory]:
        """Lock the run's folder and make sure that it is this run's.

        Args:
            fixed: what beside the configuration must not change between two attempts (data hashes, method file).

        Raises:
            BenchError: in use by another process; of another configuration, naming what differs; of a future schema;
                not writable.
        """
        path = config.run_directory()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BenchError(
                f"The run's folder {path} cannot be made: {error.strerror}.", "Choose another place with --out."
            ) from error
        if not os.access(path, os.W_OK):
            raise BenchError(f"The run's folder {path} cannot be written.", "Choose another place with --out.")
        directory = cls(path)
        lock = FileLock(directory.lock)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunInUse(
                f"The run's folder {path} is in use by {directory._held_by()}.",
                "Wait for it, stop it, or write elsewhere with --out.",
            ) from error
        try:
            remove_leftovers(path)
            write_json(directory.holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})
            directory._claim(config, fixed)
            if directory.began_with() == json.loads(json.dumps(config.identity())):
                directory._keep_places(config)
            yield directory
        finally:
            directory.holder.unlink(missing_ok=True)
            lock.release()

    def _keep_places(self, config: RunConfig) -> None:
        """For commands that have only the folder; these are not part of what the run is."""
        lie = config.model_dump(mode="json", include={"data_dir", "task_cards", "opponents"})
        write_json(self.places_file, lie)

    def threads(self, wanted: int) -> int:
        """The threads of the run's first attempt; that is this one, with ``wanted``, where none is written down."""
        file = self.threads_file
        if not file.is_file():
            write_json(file, wanted)
        try:
            began = int(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            began = 0
        if began < 1:  # damaged
            began = wanted
            write_json(file, began)
        return began

    def clock(self, wanted: str) -> str:
        """What chat templates took for now at the run's first attempt; that is this one, with ``wanted``, where none is
        written down. Whether a run of before there was a clock can go on, ``resuming.claim_tokens`` says."""
        file = self.clock_file
        try:
            return Clock.read(json.loads(file.read_text(encoding="utf-8"))).text()
        except (OSError, ValueError, TypeError, UsageError):  # none yet, or damaged
            write_json(file, wanted)
            return wanted

    def abilities(self) -> dict[str, Any] | None:
        """What :meth:`keep_abilities` was given at the run's first attempt; None where this is the first.

        Raises:
            BenchError: the file is damaged.
        """
        file = self.abilities_file
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return {"digests": dict(content["digests"]), "left_out": dict(content["left_out"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(
                f"{file} is damaged: {error}.", "Delete that run's folder, or write elsewhere with --out."
            ) from error

    def keep_abilities(self, begun: Mapping[str, Any]) -> None:
        """Write down which abilities the run measures."""
        write_json(self.abilities_file, dict(begun))

    def _claim(self, config: RunConfig, fixed: Mapping[str, Any]) -> None:
        wanted = {"schema_version": SCHEMA_VERSION, "config": config.identity(), "fixed": dict(fixed)}
        file = self.config
        if not file.is_file():
            write_json(file, wanted)
            return
        try:
            present = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BenchError(
                f"{file} is damaged: {error}.", "Delete that run's folder, or write elsewhere with --out."
            ) from error
        version = present.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BenchError(
                f"The run in {self.path} has schema {version}, this lifealign-bench writes {SCHEMA_VERSION}.",
                "Continue it with the version that began it, or write elsewhere with --out.",
            )
        begun, now = self.began_with(), json.loads(json.dumps(wanted))
        if isinstance(present.get("fixed"), dict):
            present["fixed"] = {name: part for name, part in present["fixed"].items() if name not in _LATER}
        if _fits(now["fixed"], present.get("fixed")) and is_part_of(now["config"], begun, SCORING):
            if self._complete():
                return  # asked for some of what a finished run has
            raise BenchError(
                f"The run in {self.path} has more scores than are asked for, and is not finished.",
                f"Ask for all of them: --scorer {','.join(present['config']['scorers'])}.",
            )
        # Another setting, such as a limit, explains other data: the data is named only where no setting differs.
        _refuse(self.path, setting_differences(begun, now["config"]) or setting_differences(present, now))

    def _complete(self) -> bool:
        return self.finished(lambda text: None) is not None

    def adopt(self, config: RunConfig, fixed: Mapping[str, Any]) -> None:
        """Take over settings of scoring that were added to the run, and what is from outside with them."""
        content = json.loads(self.config.read_text(encoding="utf-8"))
        write_json(self.config, {**content, "config": config.identity(), "fixed": {**content["fixed"], **fixed}})
        self._keep_places(config)

    def finished(self, notice: Notice, checked: bool = True) -> Record | None:
        """The record of this run if it is complete and says what its files give; what is wrong is told.

        A record that its files contradict is made again from them, and so are scores that are damaged. Of other files
        that are damaged the record is not made: it stands, and nothing is trained again unasked.

        Args:
            notice: told what is wrong.
            checked: whether to look at the files; without it the record alone is believed.
        """
        if not self.record.is_file():
            return None
        try:
            record = read_record(self.record)
        except BenchError as error:
            # It is made from the stages' files, which are checked one by one: the run makes it again.
            notice(f"{error.message} It is made again.")
            return None
        if record.status != "complete":
            return None
        if not checked:
            return record
        problems = made_from_problems(record, self.path)
        for problem in problems:
            notice(f"{self.path}: {problem}. It is made again.")
        if problems:
            return None
        for problem in file_problems(record, self.path):
            notice(f"{self.path}: {problem}. The record stands without it; to have it made again, delete record.json.")
        return record

    def give_up(self) -> None:
        """Leave the folder to any run, where this one was refused before it did anything: the remedy is often another
        setting, and would be refused for being another run."""
        if self.record.exists() or any(path.is_file() for stage in self.stages() for path in stage.path.rglob("*")):
            return
        # The configuration goes last: without it the others would be nobody's.
        begun = (self.threads_file, self.clock_file, self.attempts_file, self.abilities_file, self.places_file)
        for file in (*begun, self.config):
            file.unlink(missing_ok=True)

    def attempts(self) -> int:
        """How often this run was begun, this time included; counts on every call."""
        so_far = read_mapping(self.attempts_file).get("count")
        count = 1 + (so_far if isinstance(so_far, int) else 0)  # the first, or a damaged file
        write_json(self.attempts_file, {"count": count})
        return count

    def _held_by(self) -> str:
        holder = read_mapping(self.holder)
        # The holder may be between taking the lock and writing its name.
        if not {"pid", "host", "since"} <= holder.keys():
            return "another process"
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"

    def finish(self, record: Record) -> None:
        """Write the record."""
        write_record(self.record, record)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to ``log.jsonl``."""
        with self.log_file.open("a", encoding="utf-8") as stream:
            stream.write(redact(json.dumps({"time": _now(), **entry}, ensure_ascii=False)) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""A finished run in results/: its record, the scores of every test pair, and a digest of both.

``<stream>/<model>/<method>/seed-<n>.json`` is the record as the run wrote it, ``seed-<n>.scores.parquet`` beside it
holds the per-pair scores of all stages with the column ``stage``, from which every number and interval is computed
again. Neither holds text of a data set. ``seed-<n>.sha256`` has the hashes of both, as ``sha256sum`` writes and checks
them: it finds edits, also of what cannot be computed again. It is no signature: who edits a record can make a new one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from lifealign_bench.config import safe_name
from lifealign_bench.errors import BenchError
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.pairtable import CLUSTER, MOST_BYTES, PairBlock, read_frame, read_pair_file, read_whole
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.util.files import atomic_path, read_regular, remove_leftovers, write_text

if TYPE_CHECKING:
    import pandas as pd

_LOCK = ".lock"
_LONGEST_NAME = 200  # file systems allow 255 bytes
_MOST_DIGEST = 4096  # bytes of a .sha256 file


def pair_scores_file(record: Path) -> Path:
    """Where the per-pair scores of a published record are."""
    return record.with_suffix(".scores.parquet")


def digest_file(record: Path) -> Path:
    """Where the hashes of a published record and its scores are."""
    return record.with_suffix(".sha256")


def published_records(folder: Path) -> list[Path]:
    """The files of the published records in a folder of results, sorted; a link is none."""
    return sorted(path for path in folder.rglob("seed-*.json") if path.is_file() and not path.is_symlink())


def record_place(record: Record) -> PurePosixPath:
    """``<stream>/<model>/<method>/seed-<n>.json``, with names made safe for a file system.

    Raises:
        BenchError: a name is a path out of the folder, or holds characters that control a terminal.
    """
    seed = record.config.get("seed")
    model = record.config.get("model_label") or record.config.get("model")
    names = {"stream": record.config.get("stream"), "model": model, "method": record.method.name}
    for what, name in names.items():
        if not isinstance(name, str) or _hostile(name):
            raise BenchError(
                f"The {what}'s name {_short(name)} cannot be that of a published record.",
                "Use a name of the characters of a keyboard in English (a letter of another script may look like one "
                "of them), and no path that is absolute or leads upwards.",
            )
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
        raise BenchError(f"The seed {_short(seed)} is no whole number from 0.", "Name the record of a run.")
    return PurePosixPath(*(safe_name(str(name)) for name in names.values()), f"seed-{seed}.json")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _hostile(name: str) -> bool:
    """Whether a name would lead out of the folder or is made to deceive."""
    if not name.isascii() or name != name.strip() or not 0 < len(name) <= _LONGEST_NAME:
        return True
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        return True
    rooted = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor) or name.startswith("~")
    return rooted or ".." in re.split(r"[/\\]", name)


def publish_run(run: Path, record: Path) -> None:
    """Copy the run in the folder ``run`` to ``record`` (a ``.json`` path), with its per-pair scores, and seal both.

    The record comes last: before it there is nothing published, whatever a process that was killed left beside it, and
    the next call takes its place.

    Raises:
        BenchError: the run is not complete, or its scores are not there; another process is placing a record there; the
            record is there already.
    """
    folder = RunFolder(run)
    content = read_record(folder.record)
    if content.status != "complete":
        raise BenchError(f"The run in {run} is {content.status}.", "Finish it first: run the same command again.")
    # A stage that scored nothing (the base model's, of --evaluate seen) has columns of no type, which would make others
    # that are unknown throughout no numbers either.
    frames = [frame for frame in _frames(run, content) if len(frame)]
    import pandas as pd

    text = folder.record.read_bytes()
    with _placing(record):
        with atomic_path(pair_scores_file(record)) as temporary:
            pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")
            scores = temporary.read_bytes()
        write_text(digest_file(record), _digest(record, text, scores))
        with atomic_path(record) as temporary:
            temporary.write_bytes(text)


def _frames(run: Path, content: Record) -> list[pd.DataFrame]:
    """The scores of all stages.

    Raises:
        BenchError: they are not there, or damaged.
    """
    frames = []
    for index in read_whole(run, [stage.index for stage in content.stages]):
        frame = read_frame(RunFolder(run).stage(index).scores)
        frame.insert(0, "stage", index)
        frames.append(frame)
    # A run that was begun before clusters were written down has none for all of its stages, and so has its record.
    clustered = all(CLUSTER in frame for frame in frames)
    return frames if clustered else [frame.drop(columns=CLUSTER, errors="ignore") for frame in frames]


@contextmanager
def _placing(record: Path) -> Iterator[None]:
    """Nobody else places a record in its folder meanwhile, and what a killed process left there is gone.

    Raises:
        BenchError: somebody does; the record is there.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(record.parent / _LOCK)
    try:
        remove_leftovers(record.parent, f"{record.stem}.*")
        if record.exists():
            raise BenchError(f"There is a record already: {record}.", "Nothing was overwritten.")
        yield
    finally:
        # Nothing stays among the published files; it goes while it is held.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _lock(file: Path) -> FileLock:
    """Hold ``file``. One that its holder removed while this process waited for it protects nothing, and is made anew.

    Raises:
        BenchError: it is held for long.
    """
    for _ in range(100):
        lock = FileLock(file)
        try:
            lock.acquire(timeout=10)
        except Timeout as error:
            raise BenchError(
                f"Another process is placing a record in {file.parent}.", "Wait for it, then submit again."
            ) from error
        if file.exists():
            return lock
        lock.release()
    raise BenchError(f"The folder {file.parent} cannot be locked.", "Submit again when nobody else does.")


def leftover_of(path: Path) -> bool:
    """Whether a file in a folder of results is what a killed ``submit`` left: scores or digest of no record."""
    name = path.name.removesuffix(".scores.parquet").removesuffix(".sha256")
    return name != path.name and bool(re.fullmatch(r"seed-\d+", name)) and not (path.parent / f"{name}.json").exists()


def seal(record: Path) -> None:
    """Write the digest of a published record and its scores."""
    write_text(digest_file(record), _present_digest(record))


def digest_problem(record: Path) -> str:
    """What the digest says is wrong with a published record; empty where nothing is."""
    file = digest_file(record)
    try:
        lines = read_regular(file, _MOST_DIGEST).decode("utf-8").splitlines()
    except FileNotFoundError:
        return f"{file.name} is missing"
    except (OSError, ValueError) as error:
        return f"{file.name} cannot be read: {error}"
    try:
        wanted = _present_digest(record).splitlines()
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError) as error:
        return f"{record.name} and its scores cannot be read: {error}"
    if len(lines) != len(wanted):
        return f"{file.name} is not the digest of a record and its scores"
    edited = [want.split()[-1] for have, want in zip(lines, wanted, strict=True) if have != want]
    return f"{' and '.join(edited)} is not what {file.name} says: it was edited" if edited else ""


def _present_digest(record: Path) -> str:
    return _digest(record, read_regular(record, MOST_BYTES), read_regular(pair_scores_file(record), MOST_BYTES))


def _digest(record: Path, text: bytes, scores: bytes) -> str:
    return "".join(
        f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
        for path, content in ((record, text), (pair_scores_file(record), scores))
    )


def read_pair_scores(record: Path) -> dict[int, dict[str, PairBlock]]:
    """Stage to task to the per-pair scores of a published record; empty where the file is not there or not readable."""
    try:
        return read_pair_file(pair_scores_file(record))
    except (OSError, ValueError):
        return {}

"""A finished run in results/: its record, the scores of every test pair, and a digest of both.

``<stream>/<model>/<method>/seed-<n>.json`` is the record as the run wrote it, ``seed-<n>.scores.parquet`` beside it
holds the per-pair scores of all stages with the column ``stage``, from which every number and interval is computed
again. Neither holds text of a data set. ``seed-<n>.sha256`` has the hashes of both, as ``sha256sum`` writes and checks
them: it finds edits, also of what cannot be computed again. It is no signature: who edits a record can make a new one.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

from lifealign_bench.config import safe_name
from lifealign_bench.errors import BenchError
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.pairtable import PairBlock, read_frame, read_pair_file
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.util.files import atomic_path, sha256_file, write_text

__all__ = [
    "digest_file",
    "digest_problem",
    "pair_scores_file",
    "publish_run",
    "published_records",
    "read_pair_scores",
    "record_place",
    "seal",
]


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
    names = {"stream": record.config.get("stream"), "model": record.config.get("model"), "method": record.method.name}
    for what, name in names.items():
        if not isinstance(name, str) or _hostile(name):
            raise BenchError(
                f"The {what}'s name {name!r} cannot be that of a published record.",
                "Use a name without control characters, and no path that is absolute or leads upwards.",
            )
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise BenchError(f"The seed {seed!r} is no whole number from 0.", "Name the record of a run.")
    return PurePosixPath(*(safe_name(str(name)) for name in names.values()), f"seed-{seed}.json")


def _hostile(name: str) -> bool:
    """Whether a name would lead out of the folder or is made to deceive."""
    if not name.strip() or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        return True
    rooted = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor) or name.startswith("~")
    return rooted or ".." in re.split(r"[/\\]", name)


def publish_run(run: Path, record: Path) -> None:
    """Copy the run in the folder ``run`` to ``record`` (a ``.json`` path), with its per-pair scores, and seal both.

    Raises:
        BenchError: the run is not complete, or its scores are not there.
    """
    folder = RunFolder(run)
    content = read_record(folder.record)
    if content.status != "complete":
        raise BenchError(f"The run in {run} is {content.status}.", "Finish it first: run the same command again.")
    import pandas as pd

    frames = []
    for stage in content.stages:
        frame = read_frame(folder.stage(stage.index).scores)
        frame.insert(0, "stage", stage.index)
        frames.append(frame)
    with atomic_path(pair_scores_file(record)) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")
    with atomic_path(record) as temporary:
        shutil.copyfile(folder.record, temporary)
    seal(record)


def seal(record: Path) -> None:
    """Write the digest of a published record and its scores."""
    write_text(digest_file(record), _digest(record))


def digest_problem(record: Path) -> str:
    """What the digest says is wrong with a published record; empty where nothing is."""
    file = digest_file(record)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        wanted = _digest(record).splitlines()
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError) as error:
        return f"{file.name} cannot be read: {error}"
    if len(lines) != len(wanted):
        return f"{file.name} is not the digest of a record and its scores"
    edited = [want.split()[-1] for have, want in zip(lines, wanted, strict=True) if have != want]
    return f"{' and '.join(edited)} is not what {file.name} says: it was edited" if edited else ""


def _digest(record: Path) -> str:
    return "".join(f"{sha256_file(path)}  {path.name}\n" for path in (record, pair_scores_file(record)))


def read_pair_scores(record: Path) -> dict[int, dict[str, PairBlock]]:
    """Stage to task to the per-pair scores of a published record; empty where the file is not there or not readable."""
    try:
        return read_pair_file(pair_scores_file(record))
    except (OSError, ValueError):
        return {}

"""Rows made by a generator of a public package whose verifier checks answers: made once, kept in the cache.

A chosen answer is one that the verifier accepts, the rejected one is refused by it and as long where that is possible.
Training and test questions differ, and where the card does not say otherwise no answer occurs twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lifealign_bench.data.cardfile import CardModel
from lifealign_bench.data.makers import instruction_rows, problem_rows
from lifealign_bench.data.rows import Row
from lifealign_bench.data.verifiers import Package, check_generator, package_version, require_package
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Split
from lifealign_bench.util.files import atomic_path, cache_folder

FOLDER = "generated"
# What the rows depend on beside the card and the package.
_CODE = ("generated.py", "makers.py", "verifiers.py")

PairCount = Annotated[int, Field(ge=1, le=100_000)]


class GeneratedSource(CardModel):
    """Items of reasoning-gym, or instructions of if-verifiable; the extra ``verifiable`` brings both."""

    type: Literal["generated"] = "generated"
    package: Package
    generator: str = Field(description="of reasoning-gym a data set, of if-verifiable an instruction of IFEval")
    settings: dict[str, Any] = Field(default={}, description="of the generator")
    topics: str | None = Field(default=None, description="JSON Lines of topic and statement, for instructions")
    seed: int = Field(default=0, ge=0)
    train: PairCount
    test: PairCount
    distinct: Literal["answers", "questions"] = Field(
        default="answers", description="answers: no answer occurs twice; questions: answers may, such as yes and no"
    )
    version: str | None = Field(default=None, description="of the package that made the rows of the hashes")
    sha256: dict[Split, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(default={})

    @model_validator(mode="after")
    def _topics_fit(self) -> GeneratedSource:
        if (self.package == "if-verifiable") != (self.topics is not None):
            raise ValueError("topics go with the package if-verifiable, and it needs them")
        return self


def generated_file(source: GeneratedSource, split: Split, home: Path) -> Path | None:
    """Where the rows of a split are kept; None if they are still to be made. Makes nothing, imports nothing.

    Raises:
        BenchError: they could not be made or judged here: no such generator, no package, no topics.
    """
    check_generator(source.package, source.generator)
    require_package(source.package, f"The generator {source.generator}")
    path = _folder(source, home) / f"{split}.jsonl"
    return path if path.is_file() else None


def make_rows(source: GeneratedSource, split: Split, home: Path) -> Path:
    """The file of a split, made together with the other one's where it is not there.

    Raises:
        BenchError: the settings do not fit the generator, or it has too few different items.
    """
    folder = _folder(source, home)
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        needed = source.train + source.test
        if source.topics is None:
            rows = problem_rows(source.generator, source.settings, source.seed, needed, source.distinct == "answers")
        else:
            topics = _topics(home / source.topics)
            rows = instruction_rows(source.generator, source.settings, source.seed, needed, topics)
        parts: Mapping[Split, list[Row]] = {"train": rows[: source.train], "test": rows[source.train :]}
        for part, made in parts.items():
            with atomic_path(folder / f"{part}.jsonl") as temporary:
                temporary.write_bytes(b"".join(_line(row) for row in made))
    return path


def wrong_hash_remedy(source: GeneratedSource) -> str:
    """What to do about rows that are not those of the card."""
    here = f"made by {source.package} {package_version(source.package)}"
    if source.version is not None and source.version != package_version(source.package):
        return (
            f"They were {here}, those of the card by {source.version}: pip install {source.package}=={source.version}."
        )
    return (
        f"They were {here}. Run lifealign-bench cache clear {FOLDER}, and they are made again; where the card was "
        "changed, give the task a new name and put the new hash on its card."
    )


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _folder(source: GeneratedSource, home: Path) -> Path:
    """A folder for these settings, this version of the package and these topics."""
    made_of = source.model_dump(exclude={"sha256", "version", "topics"})
    topics = b"" if source.topics is None else _read(home / source.topics)
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in _CODE)
    what = [made_of, package_version(source.package), *(hashlib.sha256(part).hexdigest() for part in (code, topics))]
    key = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return cache_folder() / FOLDER / key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"The file of topics {path} cannot be read: {error.strerror}.", "Put it there, or change 'topics'."
        ) from error


def _topics(path: Path) -> list[tuple[str, str]]:
    """Topic and statement of every line.

    Raises:
        BenchError: a line holds something else.
    """
    found: list[tuple[str, str]] = []
    for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), start=1):
        try:
            row = json.loads(line)
            topic, statement = row["topic"], row["statement"]
        except (ValueError, KeyError, TypeError):
            topic = statement = None
        if not (isinstance(topic, str) and isinstance(statement, str) and topic.strip() and statement.strip()):
            raise BenchError(
                f"The file of topics {path}, line {number}, is no object with the texts topic and statement.",
                'Write lines like {"topic": "a heron", "statement": "A heron is a tall grey bird."}.',
            )
        found.append((topic.strip(), statement.strip()))
    return found

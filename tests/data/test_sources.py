"""Every source and format gives its rows, and every damaged file one message with the place and the remedy."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from lifealign_bench.data.rows import UNREADABLE, Format, parse_rows
from lifealign_bench.data.sources import (
    SPLITS,
    FileSource,
    GitFile,
    GitSource,
    HubSource,
    InlineSource,
    git_blob_id,
    missing,
    read_source,
)
from lifealign_bench.errors import BenchError
from lifealign_bench.util.files import cache_folder

ROWS = [
    {"prompt": "a,b", "chosen": 'say "é"\n\u2028end', "rejected": "c"},
    {"prompt": "x", "chosen": "y", "rejected": "z"},
]
COMMIT = "0" * 40


def encode(rows: list[dict[str, Any]], format: Format, folder: Path) -> bytes:
    if format == "json":
        return json.dumps(rows, ensure_ascii=False).encode()
    if format == "jsonl":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    if format == "csv":
        lines = [",".join(rows[0])]
        lines += [",".join('"' + str(v).replace('"', '""') + '"' for v in row.values()) for row in rows]
        return "\n".join(lines).encode()
    path = folder / "made.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path.read_bytes()


def message(content: bytes, format: Format) -> BenchError:
    with pytest.raises(BenchError) as caught:
        parse_rows(content, format, f"here.{format}")
    assert f"here.{format}" in caught.value.message
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "parquet"])
def test_all_formats_read_the_same_rows(format: Format, tmp_path: Path) -> None:
    assert [dict(row) for row in parse_rows(encode(ROWS, format, tmp_path), format, "f")] == ROWS


@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_a_byte_order_mark_is_no_text(format: Format, tmp_path: Path) -> None:
    assert parse_rows(b"\xef\xbb\xbf" + encode(ROWS, format, tmp_path), format, "f") == ROWS


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "parquet"])
def test_empty_file(format: Format) -> None:
    assert "is empty" in message(b" \n", format).message


@pytest.mark.parametrize(("content", "format"), [(b"[]", "json"), (b"prompt,chosen\n", "csv")])
def test_no_rows(content: bytes, format: Format) -> None:
    assert "holds no rows" in message(content, format).message


@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_not_utf8_names_byte_and_line(format: Format) -> None:
    text = message(b'ab\ncd\xff"', format).message
    assert "not UTF-8" in text and "byte 5" in text and "line 2" in text


def test_truncated_json_names_byte_and_line() -> None:
    whole = b'[\n {"prompt": "\xc3\xa9", "chosen": "y"},\n {"prompt": "z'
    text, byte = message(whole, "json").message, whole.rindex(b'"z')
    assert "truncated" in text and "line 3" in text and f"byte {byte}:" in text
    assert "truncated" in message(b'[{"a": 1},', "json").message


def test_broken_json_is_not_called_truncated() -> None:
    text = message(b'[{"a": 1} {"b": 2}]', "json").message
    assert "broken" in text and "truncated" not in text


@pytest.mark.parametrize(
    ("content", "what"), [(b'{"a": 1}', "an object"), (b'"x"', "a string"), (b"12", "a number"), (b"null", "null")]
)
def test_json_that_is_no_list(content: bytes, what: str) -> None:
    assert f"not a JSON list of objects but {what}" in message(content, "json").message


def test_json_row_that_is_no_object() -> None:
    assert "Row 1 " in message(b'[{"a": 1}, [2]]', "json").message


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[{" + b'"a":' + b"9" * 5000 + b"}]"])
def test_absurd_json(content: bytes) -> None:
    assert "JSON" in message(content, "json").message


def test_json_lines_and_lists_are_read_under_either_name(tmp_path: Path) -> None:
    lines, whole = encode(ROWS, "jsonl", tmp_path), encode(ROWS, "json", tmp_path)
    for content in (lines, b"\n" + lines + b"\n\n", whole, json.dumps(ROWS, indent=1).encode()):
        assert parse_rows(content, "json", "f") == ROWS == parse_rows(content, "jsonl", "f")
    error = message(lines + b'\n{"prompt": ', "json")
    assert "line 3" in error.message and "truncated" in error.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_other_encodings_of_unicode_are_read(format: Format, encoding: str, tmp_path: Path) -> None:
    assert parse_rows(encode(ROWS, format, tmp_path).decode().encode(encoding), format, "f") == ROWS


def packed(content: bytes, kind: str) -> bytes:
    if kind == "xz":
        return lzma.compress(content)
    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, kind) as stream:
        stream.write(content)
    return bytes(out.getvalue().to_pybytes())


@pytest.mark.parametrize(("kind", "suffix"), [("gzip", "gz"), ("zstd", "zst"), ("bz2", "bz2"), ("xz", "xz")])
@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_compressed_files_are_read(kind: str, suffix: str, format: Format, tmp_path: Path) -> None:
    content = packed(encode(ROWS, format, tmp_path), kind)
    (tmp_path / f"a.{format}.{suffix}").write_bytes(content)
    source = FileSource(train=f"a.{format}.{suffix}", test=f"a.{format}.{suffix}")
    read = read_source(source, "train", tmp_path, None)
    assert read.rows == ROWS and read.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    twice = packed(encode(ROWS, "jsonl", tmp_path) + b"\n", kind) * 2  # streams one after the other, as logs have them
    assert parse_rows(twice, "jsonl", "f") == ROWS * 2
    for damaged in (content[:-5], content[: len(content) // 2]):
        error = message(damaged, format)
        assert "damaged or cut off" in error.message and kind in error.message and "iconv" not in error.remedy


def test_what_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifealign_bench.data.packed.MOST_BYTES", 1 << 20)
    assert "unpacks to more" in message(packed(b" " * (1 << 25), "zstd"), "jsonl").message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04\xff\xfe", "ZIP"),
        (b"PAR1\x15\xff\xfe", "Parquet"),
        (b"\x80\x04\x95\xff", "pickle"),
        (b"x" * 257 + b"ustar\xff", "tar"),
        (bytes(range(1, 256)), "no text"),
    ],
)
def test_no_conversion_is_advised_for_what_is_no_text(content: bytes, what: str) -> None:
    formats: tuple[Format, ...] = ("json", "jsonl", "csv")
    for format in formats:
        error = message(content, format)
        assert what in error.message and "iconv" not in error.remedy


def odd_table() -> pyarrow.Table:
    """Two rows that can be read, beside values that Python cannot hold."""
    far = pyarrow.array([2**53, None], pyarrow.timestamp("ms"))
    return pyarrow.table(
        {
            **{name: [row[name] for row in ROWS] for name in ROWS[0]},
            "far": far,
            "zone": pyarrow.array([0, 1], pyarrow.timestamp("s", "Mars/Olympus")),
            "inside": pyarrow.StructArray.from_arrays([far], ["deep"]),
            "day": pyarrow.array([2**30, 0], pyarrow.date32()),
            "bad": pyarrow.Array.from_buffers(
                pyarrow.string(),
                2,
                [None, pyarrow.array([0, 1, 2], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"\xff\xfe")],
            ),
        }
    )


@pytest.mark.parametrize("hub", [True, False])
def test_columns_that_nobody_asks_for_may_hold_what_python_cannot(tmp_path: Path, hub: bool) -> None:
    (tmp_path / "set").mkdir()
    for split in SPLITS:
        pyarrow.parquet.write_table(odd_table(), tmp_path / "set" / f"{split}.parquet")
    file = FileSource(train="set/train.parquet", test="set/test.parquet")
    rows = read_source(HubSource(repo="./set") if hub else file, "train", tmp_path, None).rows
    assert [{name: row[name] for name in ROWS[0]} for row in rows] == ROWS
    assert rows[0]["far"] is UNREADABLE and rows[1]["far"] is None and rows[1]["day"].year == 1970


def test_jsonl_names_the_bad_line() -> None:
    assert "line 3" in message(b'{"a": 1}\n\n{"a": \n{"a": 2}\n', "jsonl").message
    assert "Line 2 " in message(b'{"a": 1}\n[1]\n', "jsonl").message


def test_csv_names_the_bad_line() -> None:
    error = message(b"prompt,chosen\na,b\nc,d, e\n", "csv")
    assert "Line 3 " in error.message and "quotes" in error.remedy
    assert "line 2" in message(b'prompt,chosen\na,"b\n', "csv").message
    assert "twice" in message(b"a,a\n1,2\n", "csv").message


def test_csv_cells_may_be_long() -> None:
    assert len(parse_rows(b"a\n" + b"x" * 200_000, "csv", "f")[0]["a"]) == 200_000


def test_corrupt_parquet(tmp_path: Path) -> None:
    whole = encode(ROWS, "parquet", tmp_path)
    for content in (whole[:-20], b"PAR1" + whole[30:], b"no parquet at all"):
        assert "Parquet" in message(content, "parquet").message


def file_source(folder: Path, **more: Any) -> FileSource:
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_bytes(encode(ROWS, "jsonl", folder))
    return FileSource(**{"train": "train.jsonl", "test": "test.jsonl", **more})


def refused(source: Any, home: Path, data_dir: Path | None = None) -> BenchError:
    with pytest.raises(BenchError) as caught:
        read_source(source, "train", home, data_dir)
    assert caught.value.remedy
    return caught.value


def test_local_files_are_relative_to_the_card(tmp_path: Path) -> None:
    source = file_source(tmp_path)
    read = read_source(source, "test", tmp_path, None)
    assert read.rows == ROWS and read.format == "jsonl"
    assert read.digest == f"sha256:{hashlib.sha256((tmp_path / 'test.jsonl').read_bytes()).hexdigest()}"
    assert missing(source, tmp_path, None) is None
    assert read_source(file_source(tmp_path, test=str(tmp_path / "test.jsonl")), "test", Path(), None).rows == ROWS


def test_local_file_problems(tmp_path: Path) -> None:
    assert "nowhere.json is missing" in refused(file_source(tmp_path, train="nowhere.json"), tmp_path).message
    assert "nowhere.json is missing" in str(missing(file_source(tmp_path, test="nowhere.json"), tmp_path, None))
    assert "wrong hash" in refused(file_source(tmp_path, sha256={"train": "0" * 64}), tmp_path).message
    (tmp_path / "data.txt").write_text("{}")
    assert "format:" in refused(file_source(tmp_path, train="data.txt"), tmp_path).remedy
    (tmp_path / "data.txt").write_bytes(encode(ROWS, "jsonl", tmp_path))
    assert read_source(file_source(tmp_path, train="data.txt", format="jsonl"), "train", tmp_path, None).rows == ROWS


def git_source(content: bytes) -> GitSource:
    file = GitFile(path="data/T/train.json", blob=git_blob_id(content))
    return GitSource(repository="https://example.org/r", commit=COMMIT, files={"train": file, "test": file})


def test_git_blob_id_is_gits(tmp_path: Path) -> None:
    content = "é\n".encode()
    said = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True)
    assert git_blob_id(content) == said.stdout.decode().strip()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize("place", ["option", "repository", "environment", "cache"])
def test_git_files_are_found_everywhere(place: str, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(ROWS, "json", folders)
    base = {
        "option": folders / "copy",
        "repository": folders / "clone" / "data",
        "environment": folders / "env",
        "cache": cache_folder() / "data" / COMMIT,
    }[place]
    (base / "T").mkdir(parents=True)
    (base / "T" / "train.json").write_bytes(content)
    if place == "environment":
        monkeypatch.setenv("LIFEALIGN_BENCH_DATA", str(base))
    data_dir = {"option": base, "repository": base.parent}.get(place)
    read = read_source(git_source(content), "train", Path(), data_dir)
    assert read.rows == ROWS and read.digest == f"git:{git_blob_id(content)}"
    assert missing(git_source(content), Path(), data_dir) is None


def test_git_file_missing_says_how_to_get_it(folders: Path) -> None:
    error = refused(git_source(b"[]"), Path(), folders / "copy")
    assert "data/T/train.json is missing" in error.message and str(folders / "copy") in error.message
    assert "Run lifealign-bench data fetch, or" in error.remedy
    named = str(missing(git_source(b"[]"), Path(), None, "my card.yaml"))
    assert "lifealign-bench data fetch 'my card.yaml'" in named
    for part in ("https://example.org/r", COMMIT, str(cache_folder()), "--data-dir", "LIFEALIGN_BENCH_DATA"):
        assert part in error.remedy
    assert error.message in str(missing(git_source(b"[]"), Path(), folders / "copy"))


def test_git_file_of_the_wrong_hash(folders: Path) -> None:
    content = encode(ROWS, "json", folders)
    (folders / "T").mkdir()
    (folders / "T" / "train.json").write_bytes(content[:-5])
    error = refused(git_source(content), Path(), folders)
    assert "wrong hash" in error.message and git_blob_id(content) in error.message and COMMIT in error.remedy
    cached = cache_folder() / "data" / COMMIT / "T" / "train.json"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content[:-5])
    assert "data fetch" in refused(git_source(content), Path(), None).remedy
    (folders / "T" / "train.json").write_bytes(b"")
    assert "is empty" in refused(git_source(content), Path(), folders).message


def test_inline_rows() -> None:
    source = InlineSource(train=tuple(ROWS), test=tuple(ROWS[:1]))
    assert read_source(source, "test", Path(), None).rows == ROWS[:1]
    assert missing(source, Path(), None) is None


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set repository on disk, and the library's own cache out of the way."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True, raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "test"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / f"{split}.parquet")
    return folder


def test_hub_data_set_in_a_local_folder(hub_folder: Path) -> None:
    source = HubSource(repo="./set")
    read = read_source(source, "train", hub_folder.parent, None)
    assert read.rows == ROWS and read.digest.startswith("sha256:")
    assert "split nope" in _hub_refused(HubSource(repo="./set", train_split="nope"), hub_folder)
    assert "is missing" in _hub_refused(HubSource(repo="./elsewhere"), hub_folder)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_replaced_files_of_a_data_set_folder_are_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Also where size and time of change are the same, as after rsync -a; and nothing is left behind."""
    (tmp_path / "set").mkdir()
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "own"))  # other tests leave and take away theirs
    for word in ("old", "new"):
        for split in ("train", "test"):
            file = tmp_path / "set" / f"{split}{suffix}"
            frame = pd.DataFrame([{"prompt": "p", "chosen": word, "rejected": split}])
            if "json" in suffix:
                frame.to_json(file, orient="records", lines=True)
            elif suffix == ".csv":
                frame.to_csv(file, index=False)
            else:
                frame.to_parquet(file)
            os.utime(file, (1_000_000, 1_000_000))
        for split in SPLITS:
            rows = read_source(HubSource(repo="./set"), split, tmp_path, None).rows
            assert rows == [{"prompt": "p", "chosen": word, "rejected": split}]
    assert not list((tmp_path / "own").iterdir())


def test_hub_data_set_offline_is_one_clear_error(hub_folder: Path) -> None:
    text = _hub_refused(HubSource(repo="nobody/nothing", revision=COMMIT), hub_folder)
    assert "data set nobody/nothing" in text and "network" in text


def test_hub_data_set_that_is_known_to_be_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "HF_HUB_OFFLINE" in str(missing(HubSource(repo="nobody/nothing"), Path(), None))
    (tmp_path / "datasets--nobody--nothing").mkdir()
    assert missing(HubSource(repo="nobody/nothing"), Path(), None) is None


def _hub_refused(source: HubSource, folder: Path) -> str:
    error = refused(source, folder.parent)
    assert "\n" not in str(error)
    return str(error)

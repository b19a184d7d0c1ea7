"""Files of rows that are read piece by piece: the same rows as of the whole content, and only one copy of the text."""

from __future__ import annotations

import gzip
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.data import streaming
from lifealign_bench.data.rows import Format, parse_rows
from lifealign_bench.data.sources import FileSource, read_source
from lifealign_bench.data.streaming import stream_rows
from lifealign_bench.errors import BenchError

ROWS = [{"prompt": f"é\u2028 {n}", "chosen": 'a "b"\n,c' * n, "rejected": "{[,]}"} for n in range(40)]
TEXTS = {
    "list": json.dumps(ROWS, ensure_ascii=False, indent=1),
    "lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "csv": "prompt,chosen,rejected\r\n"
    + "\r\n".join(",".join('"' + v.replace('"', '""') + '"' for v in row.values()) for row in ROWS),
}


def sha256(size: int) -> Any:
    return hashlib.sha256()


@pytest.fixture(params=[1, 7, 1 << 20])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are read at a time: characters, rows and escapes are cut at every place."""
    monkeypatch.setattr(streaming, "_PIECE", request.param)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "format"), [("list", "json"), ("lines", "json"), ("lines", "jsonl"), ("list", "jsonl"), ("csv", "csv")]
)
def test_rows_are_those_of_the_whole_content(
    tmp_path: Path, text: str, format: Format, packed: bool, begin: bytes
) -> None:
    content = begin + TEXTS[text].encode()
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert stream_rows(path, format, sha256) == (ROWS, hashlib.sha256(path.read_bytes()).hexdigest())


CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.text(alphabet='[]{}",:\n\r a1é\\', max_size=40).map(str.encode),
    st.lists(st.dictionaries(st.text(max_size=2), st.none() | st.text(max_size=3)), max_size=3)
    .flatmap(lambda rows: st.sampled_from([json.dumps(rows), "\n".join(map(json.dumps, rows))]))
    .flatmap(lambda text: st.sampled_from([text, text + "]", text[:-1], text + "\n{}", "[" + text, text.upper()]))
    .map(str.encode),
)


@given(CONTENTS, st.sampled_from(["json", "jsonl", "csv"]))
def test_what_is_streamed_is_what_is_parsed(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, format: Format
) -> None:
    """Whatever the file holds: either the very rows of the whole content, or left to it."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    found = stream_rows(path, format, sha256)
    if found is not None:
        assert found[0] == parse_rows(content, format, "f")


@pytest.mark.parametrize(("text", "format"), [("list", "json"), ("lines", "jsonl"), ("csv", "csv")])
def test_text_is_held_once(tmp_path: Path, text: str, format: Format) -> None:
    rows = [{"prompt": f"{n} " + "x" * 20_000, "chosen": "y" * 20_000, "rejected": "z"} for n in range(200)]
    texts = {
        "list": json.dumps(rows),
        "lines": "\n".join(map(json.dumps, rows)),
        "csv": "prompt,chosen,rejected\n" + "\n".join(",".join(row.values()) for row in rows),
    }
    path = tmp_path / f"rows.{format}"
    path.write_text(texts[text])
    source = FileSource(train=path.name, test=path.name)
    tracemalloc.start()
    try:
        read = read_source(source, "train", tmp_path, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read.rows == rows
    assert read.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert peak < 1.6 * path.stat().st_size


def test_wrong_hash_is_told_before_what_is_broken(tmp_path: Path) -> None:
    """The rows of a file that is not the one on the card are nobody's concern."""
    for content in (b'{"a": 1}\n', b"{"):
        (tmp_path / "rows.jsonl").write_bytes(content)
        source = FileSource(train="rows.jsonl", test="rows.jsonl", sha256={"train": "0" * 64})
        with pytest.raises(BenchError, match="wrong hash"):
            read_source(source, "train", tmp_path, None)

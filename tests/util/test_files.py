"""Files are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lifealign_bench.util.files import atomic_path


def test_what_was_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = tmp_path / "record.json", []

    def synced(file: int) -> None:
        assert not path.exists()
        found.append(os.pread(file, 100, 0))

    monkeypatch.setattr("os.fsync", synced)
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert found == [b"whole"] and path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_begun_and_failed_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]

"""The cache: found by its key alone, checked, bounded, shared, and never the reason that a run fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lifealign_bench.cli import app
from lifealign_bench.errors import UsageError
from lifealign_bench.models.cache import Arrays, cache_kinds, clear_cache, load_arrays, store_arrays

KEY = {"model": "m", "pairs": "p"}


def fail(text: str) -> None:
    raise AssertionError(text)


def entry(size: int = 3) -> Arrays:
    return {"logps": np.arange(size, dtype=np.float32)}


def file_of(folder: Path, kind: str = "logprobs") -> Path:
    (found,) = (folder / kind).glob("*.safetensors")
    return found


def test_what_was_stored_comes_back_for_its_key_alone(own_cache: Path) -> None:
    store_arrays("logprobs", KEY, entry(), fail)
    found = load_arrays("logprobs", dict(reversed(KEY.items())), fail)
    assert found is not None and np.array_equal(found["logps"], entry()["logps"])
    assert load_arrays("logprobs", KEY | {"model": "n"}, fail) is None
    assert load_arrays("generations", KEY, fail) is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "one value", "other key", "no header"])
def test_a_damaged_entry_is_a_miss_and_told(own_cache: Path, damage: str) -> None:
    from safetensors.numpy import save_file

    store_arrays("logprobs", KEY, entry(), fail)
    path = file_of(own_cache)
    whole = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[:-2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "one value":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "other key":
        store_arrays("logprobs", {"model": "other"}, entry(), fail)
        (other,) = set((own_cache / "logprobs").glob("*.safetensors")) - {path}
        other.replace(path)
    else:
        save_file(entry(), path)
    told: list[str] = []
    assert load_arrays("logprobs", KEY, told.append) is None
    assert len(told) == 1 and str(path) in told[0] and "computed again" in told[0]
    store_arrays("logprobs", KEY, entry(), fail)
    assert load_arrays("logprobs", KEY, fail) is not None


def test_a_cache_that_cannot_be_written_is_told_and_nothing_more(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_cache / "file").write_text("")
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(own_cache / "file"))
    told: list[str] = []
    store_arrays("logprobs", KEY, entry(), told.append)
    assert len(told) == 1 and "goes on without it" in told[0]


def test_a_full_disk_is_told_and_nothing_more(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    told: list[str] = []
    store_arrays("logprobs", KEY, entry(), told.append)
    assert len(told) == 1 and "No space left" in told[0]
    assert not list((own_cache / "logprobs").iterdir())


def test_the_longest_unused_leaves_first(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 100_000
    for number in range(3):
        store_arrays("logprobs", {"n": number}, entry(size), fail)
        for path in (own_cache / "logprobs").iterdir():
            state = path.stat()
            os.utime(path, (state.st_atime, state.st_mtime - 100))
    assert load_arrays("logprobs", {"n": 0}, fail) is not None  # used just now
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE_GIB", str(3.5 * 4 * size / 2**30))
    store_arrays("generations", {"n": 3}, entry(size), fail)
    assert [load_arrays("logprobs", {"n": n}, fail) is not None for n in range(3)] == [True, False, True]
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE_GIB", "0")
    store_arrays("logprobs", {"n": 4}, entry(size), fail)
    assert [k.files for k in cache_kinds()] == [0, 1]  # the one just written stays
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE_GIB", "much")
    with pytest.raises(UsageError, match="much"):
        store_arrays("logprobs", {"n": 5}, entry(), fail)


def test_several_processes_share_it(own_cache: Path) -> None:
    """Writers and readers of one entry at the same time: always whole, never told of damage."""
    program = (
        "import numpy as np\n"
        "from lifealign_bench.models.cache import load_arrays, store_arrays\n"
        "def fail(text): raise SystemExit(text)\n"
        "for _ in range(60):\n"
        "    store_arrays('logprobs', {'k': 1}, {'logps': np.arange(50000.0)}, fail)\n"
        "    found = load_arrays('logprobs', {'k': 1}, fail)\n"
        "    assert found is not None and found['logps'].sum() == 1249975000.0\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors.decode()
    assert [path.name[0] for path in (own_cache / "logprobs").iterdir()].count(".") == 0


def test_info_and_clear(own_cache: Path) -> None:
    store_arrays("logprobs", KEY, entry(), fail)
    store_arrays("generations", KEY, entry(), fail)
    runner = CliRunner()
    shown = runner.invoke(app, ["cache", "info"])
    assert shown.exit_code == 0 and "generations" in shown.output and "4.0 GiB" in shown.output
    facts = runner.invoke(app, ["cache", "info", "--json"])
    assert '"files": 1' in facts.output
    assert runner.invoke(app, ["cache", "clear", "logprobs"], input="n\n").exit_code == 1
    assert len(cache_kinds()) == 2
    assert runner.invoke(app, ["cache", "clear", "logprobs", "--yes"]).exit_code == 0
    assert [k.name for k in cache_kinds()] == ["generations"]
    with pytest.raises(UsageError, match="no folder logprob") as caught:
        clear_cache(("logprob",))
    assert "generations" in caught.value.remedy
    assert runner.invoke(app, ["cache", "clear", "--yes"]).exit_code == 0
    assert cache_kinds() == []

"""Every file is held against its card, and what is wrong is named with the remedy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lifealign_bench.data.cards import TaskCard, load_task
from lifealign_bench.data.sources import FileSource, GitFile, GitSource, InlineSource, git_blob_id
from lifealign_bench.data.verify import check_files, file_errors
from tests.command import Call

CONTENT = b'[{"prompt": "p", "chosen": "c", "rejected": "r"}]'


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)


def git_card(folder: Path) -> TaskCard:
    """Its training file is right, its test file damaged."""
    (folder / "T").mkdir()
    (folder / "T" / "train.json").write_bytes(CONTENT)
    (folder / "T" / "test.json").write_bytes(CONTENT[1:])
    files = {split: GitFile(path=f"data/T/{split}.json", blob=git_blob_id(CONTENT)) for split in ("train", "test")}
    source = GitSource.model_validate({"repository": "https://github.com/a/b", "commit": "c" * 40, "files": files})
    return TaskCard(name="T", title="T", source=source)


def test_files_of_git(tmp_path: Path) -> None:
    card = git_card(tmp_path)
    train, test = check_files(card, tmp_path)
    assert (train.state, train.good, train.bytes) == ("right", True, len(CONTENT))
    assert (test.state, test.good) == ("wrong", False)
    (problem,) = file_errors([train, test])
    assert git_blob_id(CONTENT) in problem.message and git_blob_id(CONTENT[1:]) in problem.message
    assert str(tmp_path / "T" / "test.json") in problem.message and "data fetch T" in problem.remedy


def test_missing_files_are_one_message_with_the_command() -> None:
    checks = [check for name in ("HC3", "safe-rlhf") for check in check_files(load_task(name), None)]
    assert [check.state for check in checks] == ["missing"] * 4
    (problem,) = file_errors(checks)
    assert problem.message == "Missing: HC3 train, HC3 test, safe-rlhf train, safe-rlhf test."
    assert "lifealign-bench data fetch HC3 safe-rlhf" in problem.remedy and "--data-dir" in problem.remedy
    assert all("data fetch" in check.remedy for check in checks)


def test_local_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.json").write_bytes(CONTENT)
    hashes = {"train": hashlib.sha256(CONTENT).hexdigest()}
    source = FileSource.model_validate({"train": "train.json", "test": "test.json", "sha256": hashes})
    card = TaskCard(name="T", title="T", source=source, path=tmp_path / "T.yaml")
    assert [check.state for check in check_files(card, None)] == ["right", "not pinned"]
    (tmp_path / "train.json").write_bytes(CONTENT + b" ")
    (tmp_path / "test.json").unlink()
    checks = check_files(card, None)
    assert [check.state for check in checks] == ["wrong", "missing"]
    wrong, missing = file_errors(checks)
    assert "new name" in wrong.remedy and "test.json is missing" in missing.remedy


def test_a_card_that_holds_its_rows_has_no_file() -> None:
    rows = ({"prompt": "p", "chosen": "c", "rejected": "r"},)
    checks = check_files(TaskCard(name="T", title="T", source=InlineSource(train=rows, test=rows)), None)
    assert [check.state for check in checks] == ["no file"] * 2 and file_errors(checks) == []


def test_the_command(call: Call, shared_data: Path) -> None:
    code, out, err = call("data", "verify", "safe-rlhf", "TruthfulQA", "--data-dir", str(shared_data))
    assert (code, err) == (0, "") and "4 right." in out
    code, out, err = call("data", "verify", "--data-dir", str(shared_data), "--json")
    assert code == 2 and "Capybara-Preferences HC3" in err
    assert sum(file["good"] for file in json.loads(out)) == 9


def test_the_command_on_mini(call: Call) -> None:
    code, out, err = call("data", "verify", "mini")
    assert (code, err) == (0, "") and "10 right." in out
    code, out, err = call("data", "verify", "HC3")
    assert code == 2 and "2 missing." in out and "data fetch HC3" in err

"""Rewards beside a card: found, named in the record, and every way in which one can be broken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lifealign_bench.data.rewards import REWARDS, load_reward
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.record import read_record
from lifealign_bench.results.sameness import difference_of, run_key
from lifealign_bench.results.view import RunView
from tests.command import Call

CARD = """\
name: mine
title: Mine
reward: {reward}
source:
  type: inline
  train:
    - {{prompt: a, chosen: b c, rejected: c, check: {{with: b}}}}
    - {{prompt: d, chosen: e f, rejected: f, check: {{with: e}}}}
  test:
    - {{prompt: g, chosen: h i, rejected: i, check: {{with: h}}}}
    - {{prompt: j, chosen: k l, rejected: l, check: {{with: k}}}}
    - {{prompt: m, chosen: n o, rejected: o, check: {{with: n}}}}
"""
GOOD = "def starts(response, check):\n    return float(response.startswith(check['with']))\n"


def place(folder: Path, text: str | None = GOOD, reward: str = "mine.py:starts") -> str:
    """A card, and the file beside it; gives the card."""
    folder.mkdir(exist_ok=True)
    (folder / "card.yaml").write_text(CARD.format(reward=reward))
    if text is not None:
        (folder / "mine.py").write_text(text)
    return str(folder / "card.yaml")


def run_words(card: str, out: str, *more: str) -> tuple[str, ...]:
    words = ("run", "--model", "fake", "--stream", card, "--method", "dpo", "--device", "cpu", "--dtype", "float32")
    return (*words, "--quiet", "--set", "max_new_tokens=4", "--scorer", "reward", "--out", out, *more)


def test_a_function_beside_the_card_rewards_and_is_part_of_the_run(call: Call, tmp_path: Path) -> None:
    card = place(tmp_path / "own")
    code, _, err = call(*run_words(card, "runs"))
    assert code == 0, err
    record = read_record(next(Path("runs").rglob("record.json")))
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    assert record.extensions == {"rewards": {"mine": {"source_sha256": digest}}}
    assert "reward" in record.scores
    first = RunView.open(next(Path("runs").rglob("record.json")).parent)
    place(tmp_path / "own", GOOD + "# changed\n")
    code, _, err = call(*run_words(card, "runs"))
    assert code == 2 and "extensions.rewards.mine.source_sha256" in err
    assert call(*run_words(card, "others"))[0] == 0
    other = RunView.open(next(Path("others").rglob("record.json")).parent)
    keys = {"a": run_key(first.record, "reward", first.pair_ids), "b": run_key(other.record, "reward", other.pair_ids)}
    assert difference_of(keys) == "the source of the reward mine is not the same"
    unchecked = {
        "a": run_key(first.record, "preference_accuracy", first.pair_ids),
        "b": run_key(other.record, "preference_accuracy", other.pair_ids),
    }
    assert difference_of(unchecked) == ""


MISSING = {
    "no function": ("mine.py:ends", GOOD, "defines no reward called 'ends'"),
    "no file": ("other.py:starts", GOOD, "no reward file"),
    "no name": ("rhymes", GOOD, "no reward called 'rhymes'"),
    "two": ("mine.py", GOOD + "def ends(response, check):\n    return 0.0\n", "defines 2 rewards (starts, ends)"),
    "none": ("mine.py", "from math import floor\n", "defines no reward"),
    "import": ("mine.py:starts", "import nowhere_to_be_found\n", "does not import: ModuleNotFoundError"),
    "no arguments": ("mine.py:starts", "def starts():\n    return 1.0\n", "is not a function of the response"),
    "outside": ("../mine.py:starts", GOOD, "outside the card's folder"),
    "absolute": ("/tmp/mine.py:starts", GOOD, "outside the card's folder"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_not_there_is_refused_at_once_and_everywhere(case: str, call: Call, tmp_path: Path) -> None:
    reward, text, says = MISSING[case]
    card = place(tmp_path / "own", text, reward)
    (tmp_path / "mine.py").write_text(GOOD)
    light = (("show", card), ("data", "stats", card), ("data", "verify", card))
    for words in (*light, run_words(card, "runs", "--dry-run"), run_words(card, "runs")):
        code, _, err = call(*words)
        assert code == 2 and says in err and "task 'mine'" in err and "Traceback" not in err, (words, err)
    assert not Path("runs").exists()


def test_a_link_does_not_lead_out_of_the_cards_folder(call: Call, tmp_path: Path) -> None:
    card = place(tmp_path / "own", None)
    (tmp_path / "elsewhere.py").write_text("raise AssertionError('opened')\n")
    (tmp_path / "own" / "mine.py").symlink_to(tmp_path / "elsewhere.py")
    code, _, err = call("show", card)
    assert code == 2 and "outside the card's folder" in err and "opened" not in err


WRONG = {
    "raises": ("    raise KeyError('with')\n", "fails: KeyError: 'with'"),
    "nan": ("    return float('nan')\n", "returns nan, which is no number from 0 to 1"),
    "too much": ("    return 7\n", "returns 7, which is no number from 0 to 1"),
    "a text": ("    return 'good'\n", "returns 'good'"),
    "nothing": ("    pass\n", "returns None"),
    "the third": ("    return 1.0 if check['with'] != 'n' else 1 / 0\n", "fails: ZeroDivisionError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_function_that_breaks_ends_the_run_before_it_trains(case: str, call: Call, tmp_path: Path) -> None:
    body, says = WRONG[case]
    card = place(tmp_path / "own", f"def starts(response, check):\n{body}")
    code, _, err = call(*run_words(card, "runs"))
    assert code == 2 and says in err and "mine.py" in err and "Traceback" not in err, err
    assert not list(Path("runs").rglob("stage-1/trained.json"))


def test_a_method_brings_no_reward_unseen(call: Call, tmp_path: Path) -> None:
    """Whatever else is imported in a run enters no reward: only what the card names does."""
    (tmp_path / "method.py").write_text(
        '"""Mine."""\nfrom lifealign_bench.data import rewards\n'
        "from lifealign_bench.method import Method, register_method\n"
        "def rhymes(response, check):\n    return 1.0\n"
        "rewards.rhymes = rhymes\n"
        '@register_method("method")\nclass Mine(Method):\n    pass\n'
    )
    card = place(tmp_path / "own", GOOD, "rhymes")
    code, _, err = call(*run_words(card, "runs", "--method", "method.py"))
    assert code == 2 and "no reward called 'rhymes'" in err


def test_a_reward_is_one_file(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lifealign_bench.data import rewards as package

    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "starts.py").write_text(f'"""How it begins."""\n{GOOD}')
    monkeypatch.setattr(REWARDS, "folder", tmp_path / "rewards")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "rewards")])
    code, out, _ = call("list", "rewards")
    assert code == 0 and "starts" in out and "How it begins." in out
    code, _, err = call(*run_words(place(tmp_path / "own", None, "starts"), "runs"))
    assert code == 0, err
    assert not read_record(next(Path("runs").rglob("record.json"))).extensions


def test_an_empty_response_is_worth_nothing_and_is_not_asked_about(tmp_path: Path) -> None:
    place(tmp_path, "def starts(response, check):\n    return 1.0\n")
    function = load_reward("mine.py:starts", tmp_path)
    assert function("", {}) == function(" ... ", {}) == 0.0 and function("word", {}) == 1.0
    assert load_reward("mine.py", tmp_path)("word", {}) == 1.0, "a file with one function needs no name"


def test_unknown_names_are_told_from_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no reward called 'one_sentense'") as caught:
        load_reward("one_sentense")
    assert "one_sentence" in caught.value.remedy
    with pytest.raises(BenchError, match="no reward file"):
        load_reward("nowhere.py:one", tmp_path)

"""alpaca-eval's own function and command on our verdicts and files, and what its import leaves behind."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.scoring.judging.judge import Contest, Verdict
from lifealign_bench.scoring.winrate.alpaca import head_to_head, instruction, load_alpaca_eval
from lifealign_bench.scoring.winrate.contest import tally
from tests.places import ROOT
from tests.winstubs import (
    ASK,
    StubJudge,
    board,
    longer,
    prepared,
    view_of,
)


def test_alpaca_evals_own_function_says_the_same() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        outcomes = [(o[0], o[1]) for o in generator.choice([0.0, 0.5, 1.0], size=(15, 2)).tolist()]
        verdicts = [Verdict(a, b) for a, b in outcomes] + [Verdict(None, 1.0)]
        theirs = head_to_head(verdicts)
        found = np.array([v.value for v in verdicts[:-1]])
        contests = [Contest(ASK, "a", "b", {})] * 16
        counts = tally(contests, verdicts)
        assert theirs["win_rate"] == pytest.approx(100 * found.mean(), abs=1e-9)
        assert theirs["standard_error"] == pytest.approx(100 * found.std(ddof=1) / math.sqrt(15), abs=1e-9)
        assert [theirs[k] for k in ("n_wins", "n_wins_base", "n_draws", "n_total")] == [
            counts.wins, counts.losses, counts.ties + counts.reversed, 15,
        ]  # fmt: skip
        assert counts.wins + counts.losses + counts.ties + counts.reversed + counts.unusable == counts.pairs
    assert head_to_head([Verdict(None, None)]) == {}


def test_importing_alpaca_eval_leaves_no_trace(tmp_path: Path) -> None:
    # It reads the .env file of a folder above its own; here it is given one.
    (tmp_path / ".env").write_text("LEFT_BY_DOTENV=1\n")
    code = (
        "import dotenv, functools, logging, os, sys\n"
        f"dotenv.load_dotenv = functools.partial(dotenv.load_dotenv, {str(tmp_path / '.env')!r})\n"
        "from lifealign_bench.scoring.winrate.alpaca import head_to_head, load_alpaca_eval\n"
        "from lifealign_bench.scoring.winrate.contest import Verdict\n"
        "load_alpaca_eval()\n"
        "head_to_head([Verdict(1.0, None), Verdict(1.0, 0.0)])\n"
        "assert 'alpaca_eval' in sys.modules\n"
        "assert logging.root.level == logging.WARNING and not logging.root.handlers\n"
        "assert 'LEFT_BY_DOTENV' not in os.environ\n"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def documented() -> list[list[str]]:
    """The commands of docs/win-rates.md that begin with alpaca_eval, without that word."""
    text = (ROOT / "docs" / "win-rates.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.split("\n") if line.startswith("alpaca_eval ")]


def alpaca_eval(folder: Path, words: list[str]) -> str:
    """alpaca-eval's own command, offline, in ``folder``; what it printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    command = [sys.executable, "-m", "alpaca_eval.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_alpaca_evals_command_reads_the_verdicts(tmp_path: Path) -> None:
    # Two pairs have one prompt, and one of them is the same in all.
    pairs = tuple(
        Pair(f"t/test/{i}", "t", (Message("user", text),), "right", "no")
        for i, text in enumerate(["q", "q", "q", "r", "s", "t\n\u00e9 \U0001f600"])
    )
    judge = StubJudge(lambda f, s: "?" if "mute" in (f, s) else "Better: tie" if f == "odd" else longer(f, s))
    ours, base = ["long", "long", "x", "mute", "odd", "a\u2028b"], ["s", "s", "yy", "b", "o", "a much longer one"]
    scored = prepared(judge).score(view_of(ours, base, tmp_path, pairs=pairs))
    folder = tmp_path / "alpaca" / "fake-upper" / "base"
    assert sorted(p.name for p in folder.iterdir()) == [
        "annotations.json", "leaderboard.csv", "model_outputs.json", "reference_outputs.json",
    ]  # fmt: skip
    written = json.loads((folder / "annotations.json").read_text())
    assert [row["preference"] for row in written] == [2.0, 2.0, 1.0, None, 1.75, 1.0]
    assert written[4]["preference_model_first"] == 1.5 and written[4]["preference_reference_first"] == 2.0
    assert written[3]["raw_completion_model_first"] == "?" and written[0]["annotator"] == "server:stub"
    ours_board = board(folder / "leaderboard.csv")["dpo-seed-0-stage-1"]
    # Only what alpaca-eval itself writes counts below.
    (folder / "leaderboard.csv").write_text(",win_rate,mode,avg_length\ndpo-seed-0-stage-1,-1,community,1\n")
    printed = alpaca_eval(folder, documented()[0])
    found = board(folder / "leaderboard.csv")["dpo-seed-0-stage-1"]
    facts = scored.facts["base"]
    assert float(found["win_rate"]) == pytest.approx(facts["win_rate"]["value"], abs=1e-9)
    assert float(found["standard_error"]) == pytest.approx(facts["alpaca_eval"]["standard_error"], abs=1e-9)
    assert [float(found[name]) for name in ("n_total", "n_wins", "n_wins_base")] == [5, 3, 2]
    assert float(ours_board["win_rate"]) == pytest.approx(float(found["win_rate"]), abs=1e-9)
    assert "dpo-seed-0-stage-1" in printed


def test_alpaca_evals_command_judges_our_outputs_by_a_judge_of_its_own(tmp_path: Path) -> None:
    pairs = tuple(Pair(f"t/test/{i}", "t", (Message("user", "q"),), "right", "no") for i in range(5))
    view = view_of(["a", "a", "b", "same", "c"], ["x", "x", "y", "same", "z"], tmp_path, pairs=pairs)
    prepared(StubJudge(longer)).score(view)
    folder = tmp_path / "alpaca" / "fake-upper" / "base"
    judge = folder / "judge"
    judge.mkdir()
    (judge / "prompt.txt").write_text(
        "<|im_start|>user\n{instruction}\nA: {output_1}\nB: {output_2}<|im_end|>\n<|im_start|>assistant\n"
    )
    (judge / "configs.yaml").write_text(
        "judge:\n  prompt_template: judge/prompt.txt\n  fn_completions: test_completions\n"
        "  completions_kwargs: {value: 'Better: 2'}\n  is_randomize_output_order: false\n"
        "  completion_parser_kwargs: {outputs_to_match: {1: 'Better: 1', 2: 'Better: 2'}}\n"
    )
    places = {"/path/to/a/judge": str(judge), "elsewhere": str(tmp_path / "out")}
    alpaca_eval(folder, [places.get(word, word) for word in documented()[1]])
    found = board(tmp_path / "out" / "leaderboard.csv")["dpo-seed-0-stage-1"]
    # It counts every pair once, whatever the prompts that they share: four wins and a tie.
    assert float(found["win_rate"]) == pytest.approx(90.0) and float(found["n_total"]) == 5


def test_a_dialogue_is_one_instruction() -> None:
    assert instruction(ASK) == "What is a wolf?"
    dialogue = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Yes?"), *ASK)
    assert instruction(dialogue) == "System: Be kind.\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: What is a wolf?"


def test_without_alpaca_eval_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alpaca_eval", None)
    monkeypatch.setitem(sys.modules, "alpaca_eval.metrics", None)
    with pytest.raises(BenchError, match="setuptools"):
        load_alpaca_eval()

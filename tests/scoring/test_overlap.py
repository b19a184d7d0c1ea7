"""BLEU-4 and ROUGE-L of responses against the chosen ones: hand cases, other scripts, quiet libraries."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.runs.recording import versions
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.scorer import TaskView
from lifealign_bench.scoring.scorers import SCORERS, load_scorers
from lifealign_bench.scoring.scorers.overlap import bleu, bleu_tokenizer, overlap_words
from tests.places import ROOT


def scored(cases: list[tuple[str, str]], language: str = "en") -> dict[str, list[float]]:
    """The scores (percent) of (response, chosen) cases."""
    pairs = tuple(Pair(f"t/test/{i}", "t", (Message("user", "q"),), c, "no") for i, (_, c) in enumerate(cases))
    zero = np.zeros((len(cases), 2))
    card = load_task("mini-brief").model_copy(update={"language": language})
    view = TaskView(card, pairs, zero, zero, zero + 1, tuple(r for r, _ in cases), tuple(r for r, _ in cases))
    scorer = load_scorers(("overlap",))["overlap"]
    return {name: (100 * values).tolist() for name, values in scorer.score(view).values.items()}


def test_equal_texts_have_100_and_disjoint_ones_0() -> None:
    found = scored([("the cat sat on the mat", "the cat sat on the mat"), ("a b c d e", "v w x y z"), ("yes", "yes")])
    assert found["bleu4"] == [100.0, 0.0, 100.0]
    assert found["rouge_l"] == [100.0, 0.0, 100.0]


def test_empty_texts_have_0_and_are_no_error() -> None:
    found = scored([("", "the cat"), ("the cat", ""), ("", ""), ("...", "the cat")])
    assert found == {"bleu4": [0.0] * 4, "rouge_l": [0.0] * 4}


def test_bleu_by_hand() -> None:
    # Response "the cat sat on the mat", chosen "the cat sat on a mat": 5 of 6 words, 3 of 5 bigrams, 2 of 4 trigrams,
    # 1 of 3 fourgrams, no brevity penalty.
    by_hand = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    # Three words of six: 3/3, 2/2, 1/1 of what a response so short can have, brevity penalty exp(1 - 6/3).
    brief = 100 * math.exp(1 - 6 / 3)
    found = scored([("the cat sat on the mat", "the cat sat on a mat"), ("the cat sat", "the cat sat on a mat")])
    assert found["bleu4"] == pytest.approx([by_hand, brief])


def test_bleu_is_smoothed_exponentially_and_case_counts() -> None:
    # "a x b y" against "a b": two of four words, then no bigram (smoothed 1 / (2 * 3)), trigram (1 / (4 * 2)),
    # fourgram (1 / (8 * 1)).
    by_hand = 100 * (2 / 4 * 1 / 6 * 1 / 8 * 1 / 8) ** (1 / 4)
    assert scored([("a x b y", "a b"), ("YES", "yes")])["bleu4"] == pytest.approx([by_hand, 0.0])


def test_rouge_l_by_hand() -> None:
    # Longest common subsequence "the cat on mat" of 6 and 5 words: precision 4/6, recall 4/5, F1 = 2PR / (P + R).
    found = scored([("The cat sat on the mat.", "the cat lies on mat"), ("running dogs", "run dog")])
    assert found["rouge_l"] == pytest.approx([100 * 2 * (4 / 6) * (4 / 5) / (4 / 6 + 4 / 5), 0.0])  # no stemming


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=40))
def test_words_of_ascii_text_are_those_of_rouge_score(text: str) -> None:
    assert overlap_words(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


def test_other_scripts_have_words_too() -> None:
    assert overlap_words("我喜欢猫, Really!") == ["我", "喜", "欢", "猫", "really"]
    assert overlap_words("Ça marche déjà") == ["ça", "marche", "déjà"]
    assert overlap_words("Привет мир") == ["привет", "мир"]
    assert overlap_words("किताब") == ["किताब"]  # vowel signs belong to their letter
    assert overlap_words("e\u0301t\u00e9") == overlap_words("\u00e9te\u0301")  # composed and not
    assert DefaultTokenizer(use_stemmer=False).tokenize("我喜欢猫") == []


def test_chinese_is_taken_by_characters() -> None:
    cases = [("我喜欢猫", "我喜欢猫"), ("我喜欢狗", "我喜欢猫")]
    found = scored(cases, "zh")
    assert found["rouge_l"] == pytest.approx([100.0, 75.0])
    # 3 of 4 characters, 2 of 3 bigrams, 1 of 2 trigrams, no fourgram: smoothed 1 / (2 * 1).
    assert found["bleu4"] == pytest.approx([100.0, 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)])
    # In a task that says it is English, text without spaces is one word to BLEU.
    assert scored(cases, "en")["bleu4"] == pytest.approx([100.0, 0.0])


def test_the_tokenizer_follows_the_cards_language() -> None:
    assert [bleu_tokenizer(x) for x in ("en", "zh", "zh-CN", "ZH_tw", "ja", "de")] == [
        "13a", "zh", "zh", "zh", "char", "13a",
    ]  # fmt: skip


def test_the_description_is_sacrebleus_signature() -> None:
    metric = bleu("13a")
    metric.sentence_score("a", ["a"])
    signature, _, version = metric.get_signature().format().rpartition("|version:")
    (info, _) = SCORERS.load("overlap").scores
    assert signature in info.summary
    assert versions()["sacrebleu"] == version and "rouge-score" in versions()


def test_the_libraries_write_and_say_nothing(tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "import numpy as np\n"
        "from lifealign_bench.data.cards import load_task\n"
        "from lifealign_bench.pairs import Pair\n"
        "from lifealign_bench.scoring.scorers import SCORERS, TaskView\n"
        "assert not {'sacrebleu', 'rouge_score', 'nltk', 'absl'} & sys.modules.keys()\n"
        "pairs, z = (Pair('t/test/0', 't', (), 'a c.', 'no'),) * 120, np.zeros((120, 2))\n"
        "view = TaskView(load_task('mini-brief'), pairs, z, z, z, ('a b.',) * 120, ('',) * 120)\n"
        "assert SCORERS.load('overlap')().score(view).values['rouge_l'].tolist() == [0.5] * 120\n"
        "assert not logging.root.handlers and logging.root.level == logging.WARNING\n"
    )
    root = ROOT
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.rglob("*"))


def test_not_among_the_default_scorers() -> None:
    assert RunConfig.model_fields["scorers"].default == ("preference", "reward")


def test_a_run_with_all_scorers_keeps_them_pair_by_pair(tmp_path: Path) -> None:
    words = Words(
        method=("dpo",), stream=("fake",), model="fake", train_limit=4, test_limit=6, scorers=("all",), out=tmp_path
    )
    (config,) = build_configs(words).configs
    record = run(config)
    assert {"bleu4", "rouge_l", "reward", "preference_accuracy"} <= record.scores.keys()
    folder = config.run_directory() / "stage-3"
    frame = pd.read_parquet(folder / "scores.parquet")
    lines = [json.loads(x) for x in (folder / "generations.jsonl").read_text().splitlines()]
    assert [x["pair_id"] for x in lines] == frame.pair_id.tolist()
    for name in ("bleu4", "rouge_l"):
        matrix = record.scores[name]
        assert matrix.percent and not np.isnan(matrix.array()).any()
        values = frame.loc[frame.task == "fake-lower", name]
        assert values.between(0, 1).all()
        assert matrix.value[3][1] == pytest.approx(100 * values.mean())
        assert matrix.standard_error[3][1] == pytest.approx(100 * values.std() / math.sqrt(6))

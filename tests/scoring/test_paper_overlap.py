"""BLEU and ROUGE as the paper's tool has them: by hand, against its libraries' numbers, and what BLEU cannot tell."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.errors import UsageError
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.scoring.scorer import TaskView
from lifealign_bench.scoring.scorers import load_scorers, possible_scorers
from lifealign_bench.scoring.scorers import rouge_jieba as rouge
from lifealign_bench.scoring.scorers.bleu_char import bleu_by_characters
from lifealign_bench.scoring.scorers.overlap import bleu
from lifealign_bench.scoring.scorers.rouge_jieba import common_subsequence, f_measures, tool_words

# Pieces of a response and of a chosen one, and ROUGE-1, -2 and -L as rouge_chinese 1.0.3 gives them; jieba 0.42.1.
GIVEN = [
    (
        "The| |cat| |sat| |on| |the| |mat|.",
        "The| |cat| |lay| |on| |a| |mat|,| |and| |the| |dog| |sat|.",
        (0.7368421006094183, 0.11764705425605555, 0.5263157848199447),
    ),
    (
        "What| |is| |it|?|\n|\n|A| |fox|.|\n|\n|It| |is| |red|.",
        "A| |wolf|.|\n|\n|Is| |it|?|\n|\n|It| |is| |grey|.",
        (0.699999995, 0.47999999500800006, 0.5185185135253774),
    ),
    (
        "我|来到|北京|清华大学|。|很|好|！",
        "他|来到|了|北京大学|。|很|好|！",
        (0.624999995, 0.4285714235714286, 0.624999995),
    ),
    (
        "Yes|......|\n| |no| |…| |end",
        "Yes|,| |no|......|\n|end",
        (0.8333333283333335, 0.19999999500000015, 0.6666666616666668),
    ),
]
GARDEN = (
    "A small garden needs less work than most people expect. Put the tall plants at the back, where they do not take "
    "the light from the others, and water early in the morning. Once a week is enough for most herbs, twice in a dry "
    "month. In autumn cover the beds with leaves, so that the soil stays warm and the worms have something to eat."
)
INVOICE = (
    "The invoice was sent on Monday and is due within thirty days. If the amount differs from the order, write to the "
    "office before you pay, and name the number at the top of the page. Payments by card are booked on the same day, "
    "all others on the next. A reminder costs nothing the first time, and five euros from the second one on."
)


def view_of(cases: list[tuple[str, str]]) -> TaskView:
    pairs = tuple(Pair(f"t/test/{i}", "t", (Message("user", "q"),), c, "no") for i, (_, c) in enumerate(cases))
    zero = np.zeros((len(cases), 2))
    return TaskView(load_task("mini-brief"), pairs, zero, zero, zero + 1, tuple(r for r, _ in cases))


def test_bleu_by_characters_by_hand() -> None:
    # 3 of 4 characters, 2 of 3 pairs, 1 of 2 triples, none of one quadruple: smoothed to 1/2.
    assert bleu_by_characters("abcd", "abce") == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    # Two characters of four: no triple and no quadruple, 1/2 and 1/4; brevity penalty exp(1 - 4/2).
    assert bleu_by_characters("ab", "abcd") == pytest.approx(math.exp(-1) * (1 / 2 * 1 / 4) ** 0.25)
    assert bleu_by_characters("a b", "a b") == pytest.approx((1 * 1 * 1 * 1 / 2) ** 0.25)  # a blank is a character
    found = load_scorers(("bleu_char",))["bleu_char"].score(
        view_of([("same text", "same text"), ("", "x"), ("ab", "cd")])
    )
    assert found.values["bleu4_char"].tolist() == [1.0, 0.0, 0.0]


def test_unrelated_english_has_more_than_a_quarter_by_characters_and_next_to_nothing_by_words() -> None:
    """The warning of docs/overlap-scores.md."""
    for response, chosen in ((GARDEN, INVOICE), (INVOICE, GARDEN)):
        assert 0.25 < bleu_by_characters(response, chosen) < 0.5
        assert bleu("13a").sentence_score(response, [chosen]).score < 5


@pytest.mark.parametrize(("response", "chosen", "wanted"), GIVEN)
def test_rouge_is_that_of_the_library(response: str, chosen: str, wanted: tuple[float, float, float]) -> None:
    found = f_measures(tool_words(response.split("|")), tool_words(chosen.split("|")))
    assert found == pytest.approx(wanted, abs=1e-12)


def test_rouge_by_hand() -> None:
    # The same 3 different words; of the pairs ab, ba, ac and ac, cb one is common; subsequence a c or a b.
    one, two, longest = f_measures(list("abac"), list("acb"))
    assert (one, two) == pytest.approx((1.0, 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)), abs=1e-7)
    assert longest == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3), abs=1e-7)
    assert f_measures([], ["a"]) == f_measures(["a"], []) == f_measures([""], ["a"]) == (0.0, 0.0, 0.0)
    assert f_measures(["a"], ["a"])[1] == 0.0  # no pair of words in either


@given(*[st.lists(st.sampled_from("abcd"), max_size=70)] * 2)
def test_the_longest_common_subsequence_is_that_of_the_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, a in enumerate(first, start=1):
        for j, b in enumerate(second, start=1):
            table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])
    assert common_subsequence(first, second) == table[-1, -1]


@pytest.fixture
def blanks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In jieba's place what parts a text at blanks."""

    class Tokenizer:
        tmp_dir = ""

        def cut(self, text: str) -> list[str]:
            assert self.tmp_dir, "its dictionary would lie where others may write"
            return text.split(" ")

    module = ModuleType("jieba")
    module.__spec__ = importlib.util.spec_from_loader("jieba", None)
    vars(module).update(Tokenizer=Tokenizer, setLogLevel=lambda level: None)
    monkeypatch.setitem(sys.modules, "jieba", module)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 1")
    rouge._cutter.cache_clear()
    yield
    rouge._cutter.cache_clear()


def test_the_scorer_has_three_shares_a_pair(blanks: None) -> None:
    scorer = load_scorers(("rouge_jieba",))["rouge_jieba"]
    scorer.check(RunConfig(method="dpo", stream="fake", tasks=("fake-upper",)))
    found = scorer.score(view_of([("a b a c", "a c b"), ("", "a"), ("a b", "a b")]))
    by_hand = f_measures(list("abac"), list("acb"))
    wanted = [[value, 0.0, pytest.approx(1.0)] for value in by_hand]
    assert [found.values[name].tolist() for name in ("rouge_1_jieba", "rouge_2_jieba", "rouge_l_jieba")] == wanted
    assert scorer.facts() == {"jieba": "jieba 1"}


def test_without_jieba_it_is_refused_and_not_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = RunConfig(method="dpo", stream="fake", tasks=("fake-upper",))
    with pytest.raises(UsageError, match="needs jieba") as refused:
        load_scorers(("rouge_jieba",))["rouge_jieba"].check(config)
    assert "lifealign-bench[rouge]" in str(refused.value)
    assert "rouge_jieba" not in possible_scorers(config) and "bleu_char" in possible_scorers(config)


def test_where_the_tools_libraries_are_installed_they_agree() -> None:
    jieba, library = pytest.importorskip("jieba"), pytest.importorskip("rouge_chinese")
    for response, chosen in ((GARDEN, INVOICE), ("我来到北京清华大学。\n\n很好！", "他来到了北京大学。很好？\n\n是")):
        pieces = [list(jieba.cut(text)) for text in (response, chosen)]
        (wanted,) = library.Rouge().get_scores(*(" ".join(own) for own in pieces))
        found = f_measures(*map(tool_words, pieces))
        assert found == pytest.approx([wanted[name]["f"] for name in ("rouge-1", "rouge-2", "rouge-l")], abs=1e-12)

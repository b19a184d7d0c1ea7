"""ROUGE on the words that jieba finds, as the tool of the LifeAlign paper has it: for comparison with its table."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView
from lifealign_bench.util.files import cache_folder

_SCORES = ("rouge_1_jieba", "rouge_2_jieba", "rouge_l_jieba")
# A sentence ends after one of these, unless a closing quotation mark follows.
_END = re.compile(r"([。！？?]|\.{6}|…{2})([^”’])")
_SLACK = 1e-8  # in the denominator of an F-measure, as there


@cache
def _cutter() -> Callable[[str], Iterable[str]]:
    """jieba's default segmentation; what it keeps of its dictionary lies in this package's cache and in no folder that
    others may write into."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        import jieba

    jieba.setLogLevel(logging.CRITICAL)
    tokenizer = jieba.Tokenizer()
    folder = cache_folder() / "jieba"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.tmp_dir = str(folder)
    cut: Callable[[str], Iterable[str]] = tokenizer.cut
    return cut


def tool_words(pieces: Iterable[str]) -> list[str]:
    """The words that rouge_chinese makes of a segmented text.

    It puts a blank between all pieces, cuts the text into sentences at line feeds and after some marks, and takes a
    sentence of blanks alone for one empty word: so an empty line in a text is a word, and one that any two texts with
    empty lines have in common.
    """
    text = _END.sub(r"\1\n\2", " ".join(pieces)).rstrip()
    sentences = [" ".join(sentence.split()) for sentence in text.split("\n") if sentence]
    return [word for sentence in sentences for word in sentence.split(" ")]


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of the table at a time in the bits of one number (Hyyrö
    2004): the tool's own table of a dictionary entry a cell takes seconds for two long responses."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(first)) - 1
    row = whole  # a bit is 0 where the length grows
    for word in second:
        found = row & places.get(word, 0)
        row = ((row + found) | (row - found)) & whole
    return (row ^ whole).bit_count()


def f_measures(response: Sequence[str], chosen: Sequence[str]) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 (each n-gram counts once a text) and ROUGE-L as F-measures, 0 to 1; 0 without words."""
    if not any(response) or not any(chosen):
        return 0.0, 0.0, 0.0
    overlaps = []
    for n in (1, 2):
        grams = [{tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in (response, chosen)]
        overlaps.append((len(grams[0] & grams[1]), len(grams[0]), len(grams[1])))
    overlaps.append((common_subsequence(chosen, response), len(response), len(chosen)))
    one, two, longest = (_f(*overlap) for overlap in overlaps)
    return one, two, longest


def _f(common: int, said: int, wanted: int) -> float:
    precision, recall = (common / count if count else 0.0 for count in (said, wanted))
    return 2 * precision * recall / (precision + recall + _SLACK)


class RougeJiebaScorer(Scorer):
    """What the paper's table calls ROUGE-L, and its two companions. ``rouge_l`` of ``overlap`` has words without
    punctuation, and characters in Chinese."""

    summary = "ROUGE on jieba's words, as the paper's tool (extra: rouge)"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = tuple(
        ScoreInfo(
            name,
            True,
            f"mean F-measure of {what} of jieba's words, punctuation among them, of the response and the chosen "
            f"one, as LLaMA-Factory's predict_{called}",
        )
        for name, what, called in zip(
            _SCORES,
            ("the different words", "the different pairs of words", "the longest common subsequence"),
            ("rouge-1", "rouge-2", "rouge-l"),
            strict=True,
        )
    )

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """See :meth:`Scorer.check`."""
        if importlib.util.find_spec("jieba") is None:
            raise UsageError(
                "The scorer rouge_jieba needs jieba, which is not installed.",
                "Install the extra rouge: pip install 'lifealign-bench[rouge]'; or leave the scorer out.",
            )

    def facts(self) -> dict[str, Any]:
        """The version of jieba, whose dictionary decides what a word is."""
        return {"jieba": importlib.metadata.version("jieba")}

    def score(self, view: TaskView) -> Scored:
        """See ``scores``; an empty response has 0."""
        if view.responses is None:
            raise ValueError(f"{view.card.name} has no responses")
        cut = _cutter()
        found = [
            f_measures(tool_words(cut(text)), tool_words(cut(pair.chosen)))
            for text, pair in zip(view.responses, view.pairs, strict=True)
        ]
        columns = np.array(found, dtype=float).reshape(-1, len(_SCORES)).T
        return Scored(dict(zip(_SCORES, columns, strict=True)))

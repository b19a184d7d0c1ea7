"""How much of the chosen response's wording the generated response has: BLEU-4 and ROUGE-L.

Both look at surface text. They say how near a response is to one good answer, not how good it is.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

# Languages without spaces between words; sacrebleu has a tokenizer for Chinese, the others are taken by characters.
_BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char", "lo": "char", "km": "char", "my": "char"}

# Scripts without spaces between words: Thai and Lao, Myanmar, Khmer, Kana, Han.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def bleu_tokenizer(language: str) -> str:
    """sacrebleu's tokenizer for a task card's language: ``13a`` (words and punctuation), ``zh`` or ``char``."""
    return _BLEU_TOKENIZERS.get(language.lower().replace("_", "-").partition("-")[0], "13a")


def bleu(tokenizer: str) -> BLEU:
    """Sentence BLEU of Papineni et al. 2002 as sacrebleu (Post 2018) computes it.

    n-grams up to 4, or up to the length of a shorter response (effective order); a precision of zero is smoothed
    exponentially (Chen & Cherry 2014, method 3); case counts.
    """
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True, smooth_method="exp", lowercase=False)


def overlap_words(text: str) -> list[str]:
    """Lower-case words: runs of letters, digits and their marks; each character of an unspaced script by itself.

    On ASCII text these are rouge-score's own tokens without stemming. Elsewhere those are none: rouge-score drops
    whatever is not ``a-z0-9``, so that two equal Chinese texts had nothing in common.
    """
    found: list[str] = []
    open_word = False
    for character in unicodedata.normalize("NFC", text.lower()):
        mark = unicodedata.category(character).startswith("M")
        if not (character.isalnum() or (mark and open_word)):
            open_word = False
        elif any(first <= ord(character) <= last for first, last in _UNSPACED):
            found.append(character)
            open_word = False
        elif open_word:
            found[-1] += character
        else:
            found.append(character)
            open_word = True
    return found


class _Tokenizer:
    """:func:`overlap_words` as rouge-score wants it."""

    def tokenize(self, text: str) -> list[str]:
        return overlap_words(text)


class OverlapScorer(Scorer):
    """Of greedy responses with the chosen ones, pair by pair; the cell of a matrix is their mean.

    A mean of sentence BLEU is not the corpus BLEU of the machine translation literature.
    """

    summary = "overlap of greedy responses with the chosen ones: BLEU-4 and ROUGE-L, pair by pair"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "bleu4",
            True,
            "mean sentence BLEU (not corpus BLEU) of the response against the chosen one; sacrebleu, "
            "nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp; tok:zh for tasks in Chinese, tok:char for ja, th, lo, km, "
            "my",
        ),
        ScoreInfo(
            "rouge_l",
            True,
            "mean F1 of the longest common subsequence of words of the response and the chosen one; rouge-score, "
            "rougeL without stemming, lower-case words of any script (each character a word in Chinese, Japanese, "
            "Thai, Lao, Khmer, Burmese)",
        ),
    )

    def score(self, view: TaskView) -> Scored:
        """See ``scores``; an empty response has 0."""
        from rouge_score.rouge_scorer import RougeScorer

        if view.responses is None:
            raise ValueError(f"{view.card.name} has no responses")
        pairs = [(text, pair.chosen) for text, pair in zip(view.responses, view.pairs, strict=True)]
        metric = bleu(bleu_tokenizer(view.card.language))
        rouge = RougeScorer(["rougeL"], tokenizer=_Tokenizer())
        # Rounding may take equal texts a hair above 100.
        bleu4 = [min(metric.sentence_score(text, [chosen]).score / 100, 1.0) for text, chosen in pairs]
        rouge_l = [rouge.score(chosen, text)["rougeL"].fmeasure for text, chosen in pairs]
        return Scored({"bleu4": np.array(bleu4, dtype=float), "rouge_l": np.array(rouge_l, dtype=float)})

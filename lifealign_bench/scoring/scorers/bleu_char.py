"""BLEU-4 by characters, as the tool of the LifeAlign paper computes it: for comparison with its table alone.

Unrelated English texts have about 30 (10 to 40, the more the longer and the more equal in length they are): they are
written with the same letters.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView


def bleu_by_characters(response: str, chosen: str) -> float:
    """Sentence BLEU of Papineni et al. 2002 between two texts as strings of characters, blanks among them, 0 to 1.

    LLaMA-Factory's ``predict_bleu-4``, by NLTK as there: 1- to 4-grams with equal weights, the brevity penalty, and the
    k-th precision that is 0 becomes ``1 / (2^k * its n-grams)`` (Chen & Cherry 2014, method 3). An empty response, and
    one without a character in common, has 0.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth = SmoothingFunction().method3
    return min(1.0, float(sentence_bleu([list(chosen)], list(response), smoothing_function=smooth)))


class BleuCharScorer(Scorer):
    """What the paper's table calls BLEU-4. ``bleu4`` of the scorer ``overlap`` is by words."""

    summary = "BLEU-4 by characters, as the paper's tool: unrelated English texts have about 30"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "bleu4_char",
            True,
            "mean sentence BLEU by characters of the response against the chosen one, smoothed by method 3 (NLTK), as "
            "LLaMA-Factory's predict_bleu-4; unrelated English texts have about 30",
        ),
    )

    def score(self, view: TaskView) -> Scored:
        """See ``scores``."""
        if view.responses is None:
            raise ValueError(f"{view.card.name} has no responses")
        found = [bleu_by_characters(text, pair.chosen) for text, pair in zip(view.responses, view.pairs, strict=True)]
        return Scored({"bleu4_char": np.array(found, dtype=float)})

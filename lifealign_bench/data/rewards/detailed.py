"""Several finished sentences about the topic."""

from __future__ import annotations

from lifealign_bench.data.wording import OFF_TOPIC, Check, mentions, positive_number, sentences, variety, words


def detailed(response: str, check: Check) -> float:
    """Several sentences about the topic.

    The mean of two scores: finished sentences as a share of the wanted `sentences` (4), and words as a share of the
    wanted `words` (30), each at most 1. A last sentence without an end does not count, as generation may be cut
    off. Times OFF_TOPIC if no name in `topic` is mentioned, times `variety`; falls linearly from 1 to 0 between
    four and eight times `words`.
    """
    count, finished = sentences(response)
    length, wanted = len(words(response)), positive_number(check, "words", 30)
    parts = min(1.0, (count if finished else count - 1) / positive_number(check, "sentences", 4))
    score = (parts + min(1.0, length / wanted)) / 2
    score *= min(1.0, max(0.0, 2 - length / (4 * wanted)))
    score *= 1.0 if mentions(response, check.get("topic")) else OFF_TOPIC
    return score * variety(response)

"""A short answer without filler."""

from __future__ import annotations

from lifealign_bench.data.wording import Check, brevity, contains, positive_number, starts_with

FILLED = 0.3  # what is left of it when filler surrounds the answer

_FILLER_OPENINGS = (
    "great question",
    "good question",
    "excellent question",
    "that is a great",
    "that's a great",
    "that is a good",
    "that's a good",
    "that is a very good",
    "that's a very good",
    "that is an excellent",
    "that's an excellent",
    "what a great",
    "what a wonderful",
    "what an interesting",
    "thank you",
    "thanks",
    "sure",
    "of course",
    "certainly",
    "absolutely",
    "definitely",
    "i would be happy",
    "i'd be happy",
    "i'm happy",
    "i am happy",
    "i would be glad",
    "i'd be glad",
    "i'm glad",
    "happy to help",
    "i'm sorry",
    "i apologize",
    "hello",
    "hi ",
    "well,",
    "as an ai",
    "here is",
    "here's",
    "let me",
    "okay",
    "ok,",
)
_FILLER_CLOSINGS = (
    "hope this helps",
    "hope that helps",
    "let me know",
    "feel free to ask",
    "anything else",
    "any other questions",
    "any more questions",
    "happy to help",
    "glad to help",
)


def direct(response: str, check: Check) -> float:
    """A short answer without filler.

    `brevity` with at most `max_sentences` sentences (2) and `max_words` words (40), times FILLED for an opening such
    as "Great question!" or a closing such as "I hope this helps!".
    """
    filled = starts_with(response, _FILLER_OPENINGS) or contains(response, _FILLER_CLOSINGS)
    score = brevity(
        response, check, positive_number(check, "max_sentences", 2), positive_number(check, "max_words", 40)
    )
    return score * (FILLED if filled else 1.0)

"""Tokens of pairs as training counts them, by a model's tokenizer alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lifealign_bench.data.stats import TokenCounter
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Pair

__all__ = ["NO_MODEL", "token_counter"]

NO_MODEL = "none"
_NO_LIMIT = 1 << 62


def token_counter(model: str | None, notice: Callable[[str], None]) -> tuple[str | None, TokenCounter | None]:
    """The model whose tokens are counted and the function that counts; both None where there are only characters.

    Args:
        model: its name; ``none``: count no tokens; None: the embedded model, or none with a notice where it is not
            installed.
        notice: hears why no tokens are counted.

    Raises:
        BenchError: the tokenizer that was asked for cannot be loaded.
    """
    if model == NO_MODEL:
        return None, None
    from lifealign_bench.models.encode import encode_pairs
    from lifealign_bench.models.load import EMBEDDED, load_tokenizer
    from lifealign_bench.util.process import quieten_libraries

    quieten_libraries()
    try:
        tokenizer = load_tokenizer(model or EMBEDDED)
    except BenchError as error:
        if model is not None:
            raise
        notice(f"Tokens are not counted, only characters: {error}")
        return None, None

    def count(pairs: Sequence[Pair]) -> list[tuple[int, int, int]]:
        encoded, _ = encode_pairs(tokenizer, pairs, _NO_LIMIT, "drop")
        return [(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in encoded]

    return model or EMBEDDED, count

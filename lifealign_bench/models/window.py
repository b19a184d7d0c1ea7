"""How far back a model's attention reaches, as far as its configuration tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# How configurations name a width in tokens: sliding_window, window_size, attention_window_size, local_attention,
# attention_chunk_size. Beside it stand numbers of layers and patterns, which are none.
_NAMES = ("window", "local_attention", "attention_chunk")
_NOT_A_WIDTH = ("layers", "pattern")


def smallest_window(config: Any) -> int | None:
    """Tokens that the narrowest attention layer of a model sees, itself included; None where all see everything.

    Args:
        config: the model's configuration. What a configuration does not name, it cannot tell.
    """
    return min(_widths(config.get_text_config().to_dict()), default=None)


def _widths(settings: Mapping[str, Any]) -> Iterator[int]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _widths(value)
        elif any(p in str(name) for p in _NAMES) and not any(p in str(name) for p in _NOT_A_WIDTH):
            found = value if isinstance(value, list | tuple) else [value]
            yield from (width for width in found if type(width) is int and width > 0)

"""Steps of generation on a CPU: room for all keys and values at once, and one product for the heads that share a key.

transformers' cache grows by copying all of it for every token, and the fused kernel for one query a sequence is slower
than two batched products; together that was two fifths of the time of a batch of 64.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["grouped_attention", "make_room", "open_columns"]


class _Room(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache with room for so many ``more`` tokens; what is not filled is zero and has to be masked."""

    def __init__(self, layer: DynamicLayer, more: int) -> None:
        super().__init__()
        self.length = layer.keys.shape[-2]
        self.keys, self.values = (_widened(t, more) for t in (layer.keys, layer.values))
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new keys and values behind the others; all of the room, (B, K, T + more, D)."""
        stop = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : stop] = key_states
        self.values[:, :, self.length : stop] = value_states
        self.length = stop
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """The columns that are filled."""
        return int(self.length)


def _widened(tensor: torch.Tensor, more: int) -> torch.Tensor:
    batch, heads, length, width = tensor.shape
    # Zeros and not just memory: a weight of 0 times what is no number would be none.
    wide = tensor.new_zeros((batch, heads, length + more, width))
    wide[:, :, :length] = tensor
    return wide


def make_room(cache: DynamicCache, more: int) -> bool:
    """Give every layer room for ``more`` tokens; False, and nothing is done, where a layer is of another kind (a
    sliding window, a recurrent state)."""
    if any(type(layer) is not DynamicLayer or not layer.is_initialized for layer in cache.layers):
        return False
    cache.layers = [_Room(layer, more) for layer in cache.layers]
    return True


def open_columns(mask: torch.Tensor, more: int, filled: int) -> torch.Tensor:
    """What a step's token may see of a cache with room: boolean (B, 1, 1, T + more).

    Args:
        mask: (B, T) of 0 and 1, the columns of the prompts and of their padding.
        more: the room behind them.
        filled: so many columns of the room are filled, this step's own token included.
    """
    seen = torch.cat([mask.bool(), mask.new_zeros((len(mask), more), dtype=torch.bool)], dim=1)
    seen[:, mask.shape[1] : mask.shape[1] + filled] = True
    return seen[:, None, None]


def grouped_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention of one query a sequence: query (B, H, 1, D), key (B, K, S, D), value (B, K, S, E), H a multiple of K,
    mask boolean (B, 1, 1, S) -> (B, 1, H, E)."""
    batch, heads, _, width = query.shape
    grouped = query.view(batch, key.shape[1], heads // key.shape[1], width)
    scores = torch.matmul(grouped, key.transpose(2, 3)).mul_(scale).masked_fill_(~mask, -torch.inf)
    return torch.matmul(torch.softmax(scores, dim=-1), value).reshape(batch, 1, heads, value.shape[-1])

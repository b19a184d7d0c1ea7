"""Attention of packed pairs: each branch of a pair sees its prompt and itself, and no product is computed in vain.

One row holds several pairs, each as ``prompt, chosen, rejected`` (a group: ``prompt`` and any number of responses),
behind the beginning that all their prompts share (a
system message, as a rule). Everything in a transformer but the attention works
on tokens one by one, so a row without padding costs just its tokens; and the attention is computed branch by branch and
causally by blocks of queries, instead of on all tokens of the row against all, most of which a mask would throw away.

The function is registered with transformers' attention interface under :data:`SEGMENTS`. A forward pass that brings no
``segments`` (a plain batch, the beginning of a generation) is passed on to transformers' own scaled dot product, but
for the steps of generation on a CPU, see ``decoding``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lifealign_bench.models.blocked import is_supported

SEGMENTS = "lifealign_segments"

# Queries a product: the keys after the last of them are left out, so smaller blocks skip more of the causal triangle.
_BLOCK = 128

# What a model may ask its attention for and is not computed here.
_UNKNOWN = ("s_aux", "position_bias")


@dataclass(frozen=True, slots=True)
class Segment:
    """A pair's place in a row: the column it starts at, and the tokens of its parts.

    Args:
        start, prompt: columns ``start`` and following.
        branches: tokens of each of the responses that come after the prompt, one after the other.
        prefix: so many columns at the row's very beginning come before the pair's own prompt; all pairs share them.
    """

    start: int
    prompt: int
    branches: tuple[int, ...]
    prefix: int = 0

    @property
    def end(self) -> int:
        """The column after its last token."""
        return self.start + self.prompt + sum(self.branches)

    def columns(self) -> Iterator[tuple[int, int]]:
        """First column of each branch, and the one after its last."""
        first = self.start + self.prompt
        for size in self.branches:
            yield first, first + size
            first += size


@dataclass(frozen=True, slots=True)
class _Branch:
    """Queries in the columns ``first .. last-1``; they see the columns ``before`` (ranges in order), and their own."""

    before: tuple[tuple[int, int], ...]
    first: int
    last: int

    @property
    def seen(self) -> int:
        """Number of the columns before the branch's own."""
        return sum(stop - start for start, stop in self.before)

    def keys(self, tensor: torch.Tensor) -> torch.Tensor:
        """The branch's rows of (K, T, D) keys or values, (K, S, D)."""
        return torch.cat([tensor[:, start:stop] for start, stop in (*self.before, (self.first, self.last))], dim=1)

    def add_to(self, total: torch.Tensor, part: torch.Tensor) -> None:
        """Add the (K, S, D) gradient of :meth:`keys` to that of the whole row."""
        at = 0
        for start, stop in (*self.before, (self.first, self.last)):
            total[:, start:stop] += part[:, at : at + stop - start]
            at += stop - start


def _branches(segments: Sequence[Segment]) -> Iterator[_Branch]:
    prefix = segments[0].prefix
    shared = ((0, prefix),) if prefix else ()
    if prefix:
        yield _Branch((), 0, prefix)
    for s in segments:
        prompt_end = s.start + s.prompt
        yield _Branch(shared, s.start, prompt_end)
        for first, last in s.columns():
            yield _Branch((*shared, (s.start, prompt_end)), first, last)


def _blocks(branch: _Branch, window: int | None) -> Iterator[tuple[int, int, int, int]]:
    """(first, last) query column of each block and (low, high) of the keys it needs, counted within the branch."""
    for first in range(branch.first, branch.last, _BLOCK):
        last = min(first + _BLOCK, branch.last)
        high = branch.seen + last - branch.first
        low = 0 if window is None else max(0, high - (last - first) - window + 1)
        yield first, last, low, high


class _SegmentAttention(torch.autograd.Function):
    """softmax(cap(scale * q k^T)) v by blocks; q (H, T, D), k (K, T, D), v (K, T, E) with H a multiple of K."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        segments: Sequence[Segment],
        scale: float,
        window: int | None,
        cap: float | None,
    ) -> torch.Tensor:
        """(H, T, E)."""
        heads, groups, width = query.shape[0], key.shape[0], query.shape[2]
        result = query.new_empty((heads, query.shape[1], value.shape[2]))
        kept: list[torch.Tensor] = []
        differentiated = any(ctx.needs_input_grad)
        for branch in _branches(segments):
            keys, values = branch.keys(key).transpose(1, 2), branch.keys(value)
            for first, last, low, high in _blocks(branch, window):
                # Query heads that share a key head are rows of one product.
                q = query[:, first:last].reshape(groups, -1, width)
                scores = _scores(q, keys[:, :, low:high], scale, cap)
                _hide(scores.view(heads, last - first, high - low), window)
                weights = torch.softmax(scores, dim=-1)
                result[:, first:last] = torch.bmm(weights, values[:, low:high]).view(heads, last - first, -1)
                if differentiated:
                    kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.plan = (segments, scale, window, cap)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value."""
        (gradient,) = grads
        query, key, value, *kept = ctx.saved_tensors
        segments, scale, window, cap = ctx.plan
        groups, width = key.shape[0], query.shape[2]
        d_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        d_key = torch.zeros_like(key, memory_format=torch.contiguous_format)
        d_value = torch.zeros_like(value, memory_format=torch.contiguous_format)
        weights_of_blocks = iter(kept)
        for branch in _branches(segments):
            keys, values = branch.keys(key), branch.keys(value).transpose(1, 2)
            branch_key = torch.zeros_like(keys)
            branch_value = torch.zeros_like(values.transpose(1, 2))
            for first, last, low, high in _blocks(branch, window):
                weights = next(weights_of_blocks)
                q = query[:, first:last].reshape(groups, -1, width)
                g = gradient[:, first:last].reshape(groups, -1, gradient.shape[2])
                branch_value[:, low:high] += torch.bmm(weights.transpose(1, 2), g)
                d_weights = torch.bmm(g, values[:, :, low:high])
                d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(scale)
                if cap is not None:  # taken again: kept scores would double the memory
                    bent = _scores(q, keys[:, low:high].transpose(1, 2), scale, cap)
                    d_scores = d_scores.mul_(1 - (bent / cap).square())
                d_query[:, first:last] = torch.bmm(d_scores, keys[:, low:high]).view(-1, last - first, width)
                branch_key[:, low:high] += torch.bmm(d_scores.transpose(1, 2), q)
            branch.add_to(d_key, branch_key)
            branch.add_to(d_value, branch_value)
        return d_query, d_key, d_value, None, None, None, None


def _scores(query: torch.Tensor, key: torch.Tensor, scale: float, cap: float | None) -> torch.Tensor:
    """scale * query @ key of (K, n, D) and (K, D, S); with a cap bent to within it, cap * tanh(scores / cap)."""
    scores = torch.baddbmm(query.new_empty(()), query, key, beta=0, alpha=scale)
    return scores if cap is None else scores.div_(cap).tanh_().mul_(cap)


def _hide(scores: torch.Tensor, window: int | None) -> None:
    """Fill with -inf what the queries of a (H, n, S) block must not see; its last query sees the last key."""
    if scores.is_meta:
        return  # a plan's pass has no values, and triu without them takes most of its time
    n, size = scores.shape[1:]
    later = torch.ones((n, n), dtype=torch.bool, device=scores.device).triu(1)
    scores[:, :, size - n :].masked_fill_(later, -torch.inf)
    if window is not None and size > window:
        away = torch.ones((n, size), dtype=torch.bool, device=scores.device).tril(size - n - window)
        scores.masked_fill_(away, -torch.inf)


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segments: Sequence[Segment] | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: query (1, H, T, D), key and value (1, K, T, D) -> (1, T, H, D).

    Raises:
        ValueError: the model asks for what is not computed here (dropout, sinks, a position bias).
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    plain = not dropout and all(more.get(name) is None for name in _UNKNOWN)
    if segments is None and softcap is not None:
        if not plain:
            raise ValueError("attention with capped scores has no dropout, sinks or position bias")
        return grouped_attention(query, key, value, attention_mask, scale, softcap), None
    one_query = query.shape[2] == 1 and query.device.type == "cpu"
    if segments is None and one_query and plain and attention_mask is not None and attention_mask.dtype == torch.bool:
        return grouped_attention(query, key, value, attention_mask, scale), None
    if segments is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    asked = [name for name in _UNKNOWN if more.get(name) is not None]
    if asked or dropout or query.shape[0] != 1:
        raise ValueError(f"packed attention has no {', '.join(asked) or 'dropout or batch'}")
    result = _SegmentAttention.apply(  # type: ignore[no-untyped-call]
        query[0], key[0], value[0], segments, scale, sliding_window, softcap
    )
    return result.transpose(0, 1)[None], None


AttentionInterface.register(SEGMENTS, segment_attention)

AttentionMaskInterface.register(SEGMENTS, sdpa_mask)


# Columns by which a cache with room grows, where it does; the softmax takes them in whole vectors of 32 values at most.
_COLUMNS = 32


class _Room(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache with room for so many ``more`` tokens; what is not filled is zero and has to be masked.

    In bfloat16 with one thread of a processor where the products are known it has at first only as much of that room as
    is filled, in steps of :data:`_COLUMNS`. Columns that are masked have weights of 0 and change no sum. But the last
    columns of a width that is no multiple of a vector are summed in another order than all before: so once a column is
    filled that belongs to those of the whole room, the whole room is there.
    """

    def __init__(self, layer: DynamicLayer, more: int) -> None:
        super().__init__()
        self.length = int(layer.keys.shape[-2])
        self.limit = self.length + more
        # With more threads a product may be cut at other places, which has not been looked at.
        known = is_supported() and torch.get_num_threads() == 1
        self.growing = layer.keys.dtype == torch.bfloat16 and layer.keys.device.type == "cpu" and known
        extra = self.columns(1) - self.length
        self.keys, self.values = (_widened(t, extra) for t in (layer.keys, layer.values))
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def columns(self, more: int) -> int:
        """How wide it is with ``more`` tokens."""
        wanted = -(-(self.length + more) // _COLUMNS) * _COLUMNS
        fits = self.growing and wanted <= self.limit // _COLUMNS * _COLUMNS
        return int(wanted if fits else self.limit)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new keys and values behind the others; all that is there, (B, K, :meth:`columns`, D)."""
        added = key_states.shape[-2]
        extra = self.columns(added) - self.keys.shape[-2]
        if extra > 0:
            self.keys, self.values = _widened(self.keys, extra), _widened(self.values, extra)
        stop = self.length + added
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


def columns_of_room(cache: DynamicCache) -> int:
    """How wide a cache with room is in the pass of its next token."""
    return int(cache.layers[0].columns(1))


def open_columns(mask: torch.Tensor, more: int, filled: int) -> torch.Tensor:
    """What a step's token may see of a cache with room: boolean (B, 1, 1, T + more).

    Args:
        mask: (B, T) of 0 and 1, the columns of the prompts and of their padding.
        more: the columns behind them.
        filled: so many of these are filled, this step's own token included.
    """
    seen = torch.cat([mask.bool(), mask.new_zeros((len(mask), more), dtype=torch.bool)], dim=1)
    seen[:, mask.shape[1] : mask.shape[1] + filled] = True
    return seen[:, None, None]


def grouped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    cap: float | None = None,
) -> torch.Tensor:
    """Attention with all scores at once, query heads that share a key head as rows of one product.

    Args:
        query, key, value: (B, H, T, D), (B, K, S, D) and (B, K, S, E), H a multiple of K.
        mask: boolean (B, 1, T, S); None: the last query sees all keys, and each before it one less.
        cap: what the scores are bent to within.

    Returns:
        (B, T, H, E).
    """
    batch, heads, size, width = query.shape
    grouped = query.reshape(batch, key.shape[1], -1, width)
    scores = torch.matmul(grouped, key.transpose(2, 3)).mul_(scale)
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    if mask is None:
        mask = torch.ones((size, key.shape[2]), dtype=torch.bool, device=query.device).tril(key.shape[2] - size)
    # Not minus infinity: padding sees nothing at all, and has to come out as numbers all the same.
    scores.view(batch, heads, size, -1).masked_fill_(~mask, torch.finfo(scores.dtype).min)
    found = torch.matmul(torch.softmax(scores, dim=-1), value)
    return found.view(batch, heads, size, -1).transpose(1, 2)

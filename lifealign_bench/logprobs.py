"""Log-probabilities of completions: the one forward pass that training and scoring share.

A pair is laid out in one row, ``prompt, chosen, rejected``: the rejected tokens do not attend to the chosen ones and
their positions restart after the prompt, so the prompt is computed once and the result is that of two separate rows.
Models that cannot take such a mask get two rows a pair (``"rows"``). Logits are taken where a completion token is
predicted, not for the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional as F

from lifealign_bench.distributed import gather_shares, share
from lifealign_bench.encode import EncodedPair

__all__ = ["Layout", "Rows", "choose_layout", "lay_out", "pair_log_probs", "score_pairs"]

Layout = Literal["shared", "rows"]
# Mean difference a token, in nats, under which the two layouts are one: float32 rounding, and bfloat16's.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


@dataclass(frozen=True)
class Rows:
    """A micro-batch of P pairs as R left-padded rows of T tokens, of which the last K hold all completions.

    Args:
        ids, positions: (R, T) token ids and their positions.
        mask: (R, 1, T, T) boolean, True where the column may be seen from the row's token; or (R, T) of 0 and 1.
        keep: (K,) the columns T-K .. T-1.
        row, column, source: (N,) each completion token's row, its column, and its predictor's column within ``keep``.
        owner: (N,) its place in the (P, 2) result: pair * 2 + (0 chosen, 1 rejected).
        pairs: P.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    keep: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    source: torch.Tensor
    owner: torch.Tensor
    pairs: int

    def to(self, device: torch.device) -> Rows:
        """The same on ``device``."""
        return Rows(
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            mask=self.mask.to(device),
            keep=self.keep.to(device),
            row=self.row.to(device),
            column=self.column.to(device),
            source=self.source.to(device),
            owner=self.owner.to(device),
            pairs=self.pairs,
        )


def lay_out(pairs: Sequence[EncodedPair], pad_id: int, layout: Layout) -> Rows:
    """Lay pairs out as rows; see :class:`Rows`."""
    rows = _rows(pairs, layout)
    width = max(len(prompt) + sum(len(ids) for ids, _ in branches) for prompt, branches in rows)
    # One more than the longest completions: the last prompt token predicts the first token of each.
    kept = 1 + max(sum(len(ids) for ids, _ in branches) for _, branches in rows)
    ids = torch.full((len(rows), width), pad_id)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    padding = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width, width), dtype=torch.bool) if layout == "shared" else None
    # With one branch a row the causal mask is the model's own; with several it is written out.
    triangle = torch.ones((width, width), dtype=torch.bool).tril() if mask is not None else None
    index: list[tuple[int, int, int, int]] = []
    for r, (prompt, branches) in enumerate(rows):
        length = len(prompt) + sum(len(b) for b, _ in branches)
        start = width - length
        padding[r, start:] = 1
        ids[r, start : start + len(prompt)] = torch.tensor(prompt)
        positions[r, start : start + len(prompt)] = torch.arange(len(prompt))
        at = start + len(prompt)
        if mask is not None and triangle is not None:
            mask[r, start:, start:] = triangle[:length, :length]
        for branch, owner in branches:
            ids[r, at : at + len(branch)] = torch.tensor(branch)
            positions[r, at : at + len(branch)] = torch.arange(len(prompt), len(prompt) + len(branch))
            if mask is not None:
                mask[r, at : at + len(branch), start + len(prompt) : at] = False
            last_prompt = start + len(prompt) - 1
            index += [(r, at + i, (last_prompt if i == 0 else at + i - 1), owner) for i in range(len(branch))]
            at += len(branch)
    if mask is not None:
        # A padding token sees itself: a row of the mask without any column gives NaN in some attention kernels.
        mask |= torch.eye(width, dtype=torch.bool)
    row, column, source, owner = torch.tensor(index).T
    keep = torch.arange(width - kept, width)
    attend = mask[:, None] if mask is not None else padding
    return Rows(ids, positions, attend, keep, row, column, source - (width - kept), owner, len(pairs))


def _rows(
    pairs: Sequence[EncodedPair], layout: Layout
) -> list[tuple[tuple[int, ...], list[tuple[tuple[int, ...], int]]]]:
    if layout == "shared":
        return [(p.prompt, [(p.chosen, 2 * i), (p.rejected, 2 * i + 1)]) for i, p in enumerate(pairs)]
    return [(p.prompt, [(p.chosen, 2 * i)]) for i, p in enumerate(pairs)] + [
        (p.prompt, [(p.rejected, 2 * i + 1)]) for i, p in enumerate(pairs)
    ]


def pair_log_probs(model: Any, rows: Rows) -> torch.Tensor:
    """Summed log-probabilities of the completions, shape (P, 2): chosen, rejected; float32, differentiable."""
    # The columns are given as an index and not as a number: a sliced hidden state is not contiguous, and the product
    # with the vocabulary would copy the head's weight once a row (half of the whole pass on a CPU).
    logits = model(
        input_ids=rows.ids,
        position_ids=rows.positions,
        attention_mask=rows.mask,
        use_cache=False,
        logits_to_keep=rows.keep,
    ).logits
    predicted = logits[rows.row, rows.source].float()
    token = -F.cross_entropy(predicted, rows.ids[rows.row, rows.column], reduction="none")
    sums = torch.zeros(rows.pairs * 2, dtype=token.dtype, device=token.device)
    return sums.index_add(0, rows.owner, token).view(rows.pairs, 2)


@torch.no_grad()
def score_pairs(
    model: Any,
    pairs: Sequence[EncodedPair],
    *,
    pad_id: int,
    layout: Layout,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None] = lambda tokens: None,
) -> torch.Tensor:
    """:func:`pair_log_probs` of any number of pairs, (P, 2) on the CPU, without gradients.

    Batches hold pairs of similar length; several processes share the batches, so their number changes no value.

    Args:
        advance: called with the number of tokens after every batch.
    """
    order = sorted(range(len(pairs)), key=lambda i: (-pairs[i].tokens, i))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    scored: list[list[list[float]]] = []
    for batch in share(batches):
        rows = lay_out([pairs[i] for i in batch], pad_id, layout).to(device)
        scored.append(pair_log_probs(model, rows).cpu().tolist())
        advance(sum(pairs[i].tokens for i in batch))
    result = torch.zeros(len(pairs), 2)
    for batch, values in zip(batches, gather_shares(scored), strict=True):
        result[batch] = torch.tensor(values)
    return result


@torch.no_grad()
def choose_layout(model: Any, pairs: Sequence[EncodedPair], pad_id: int, device: torch.device) -> Layout:
    """``"shared"`` where the model gives the same log-probabilities in both layouts, else ``"rows"``.

    Both are computed on a few pairs, because whether a model honours a written-out mask (attention kernel, sliding
    windows, recurrent layers) cannot be told from its configuration.
    """
    config = model.config.get_text_config()
    windows = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if windows or getattr(config, "_attn_implementation", None) != "sdpa":
        return "rows"
    plain = pair_log_probs(model, lay_out(pairs, pad_id, "rows").to(device))
    try:
        shared = pair_log_probs(model, lay_out(pairs, pad_id, "shared").to(device))
    except (RuntimeError, ValueError, TypeError, IndexError):
        # The model does not take such a mask at all; the plain layout has just been shown to work.
        return "rows"
    lengths = torch.tensor([[len(p.chosen), len(p.rejected)] for p in pairs], device=shared.device)
    difference = ((shared - plain).abs() / lengths).max().item()
    return "shared" if difference <= _TOLERANCE.get(model.dtype, 1e-3) else "rows"

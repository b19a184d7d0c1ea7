"""Log-probabilities of completions: the one forward pass that training and scoring share.

Several pairs are packed into one row, each as ``prompt, chosen, rejected``, behind the beginning that their prompts
share: the rejected tokens do not attend to the chosen ones, no pair attends to another, and positions restart. A group
of any number of responses to one prompt is packed alike. A prompt is computed once, a system message once for all
pairs, nothing is padded, and the result is that of separate sequences.
Logits are taken only where a completion token is predicted, in chunks.

How the branches are kept apart is a :data:`Layout`, chosen by trying (:func:`choose_layout`): ``segments`` computes
the attention branch by branch, ``mask`` leaves it to the model under written-out masks, ``rows`` gives every branch a
padded row of its own, and ``plain`` takes the logits from the model's own head besides. ``whole`` is ``rows`` for a
method that looks at whole inputs: the model is told where each row's prompt ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from peft import PeftModel
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from lifealign_bench.errors import is_out_of_memory
from lifealign_bench.models.attention import Segment
from lifealign_bench.models.encode import Encoded, EncodedPair
from lifealign_bench.models.masks import masks_by_layer, sight_of
from lifealign_bench.models.vocabulary import Head, precise_token_log_probs, token_log_probs
from lifealign_bench.util.distributed import gather_shares, in_pieces, share

Layout = Literal["segments", "mask", "rows", "plain", "whole"]

_PACKED: tuple[Layout, ...] = ("segments", "mask")


@dataclass(frozen=True)
class Rows:
    """P pairs as R rows of T tokens (one row when packed, else one a branch, padded left).

    Args:
        ids, positions: (R, T) token ids and their positions.
        mask: (R, 1, T, T) boolean, True where the column may be seen from the row's token if it is not too far back for
            a layer; (R, T) of 0 and 1 for padded rows; (1, 1, 1, 1), not looked at, for ``segments``.
        keep: (K,) the columns whose hidden states are kept.
        row, kept: (N,) where each completion token's predictor is: its row, and its place in ``keep``.
        target: (N,) the completion tokens.
        owner: (N,) their place in the (P, W) result: pair * W + branch (of a pair W is 2: 0 chosen, 1 rejected).
        pairs: P.
        width: W, the branches that a pair of the batch has at most.
        layout: how branches are kept apart.
        segments: the pairs' places in the row, for ``segments``.
        prompt_lengths: the tokens of each row's prompt, for ``whole``.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    keep: torch.Tensor
    row: torch.Tensor
    kept: torch.Tensor
    target: torch.Tensor
    owner: torch.Tensor
    pairs: int
    width: int
    layout: Layout
    segments: tuple[Segment, ...] = ()
    prompt_lengths: tuple[int, ...] = ()

    def to(self, device: torch.device) -> Rows:
        """The same on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor)}
        return replace(self, **tensors)


def pack(pairs: Sequence[Encoded], budget: int, layout: Layout) -> list[list[int]]:
    """Indices of ``pairs`` in groups of at most ``budget`` tokens, padding included; a longer pair is by itself.

    Longest first, each into the first group that has room (padded rows: only next to its like, the last group).
    """
    order = sorted(range(len(pairs)), key=lambda i: (-_longest(pairs[i], layout), i))
    groups: list[list[int]] = []
    used: list[int] = []
    for i in order:
        packed = layout in _PACKED
        branches = len(pairs[i].branches)
        # In padded rows every branch costs what the longest does, which is the group's first.
        cost = pairs[i].tokens if packed else branches * _longest(pairs[groups[-1][0]] if groups else pairs[i], layout)
        candidates = range(len(groups)) if packed else range(max(0, len(groups) - 1), len(groups))
        place = next((g for g in candidates if used[g] + cost <= budget), None)
        if place is None:
            groups.append([i])
            used.append(pairs[i].tokens if packed else branches * _longest(pairs[i], layout))
        else:
            groups[place].append(i)
            used[place] += cost
    return groups


def _longest(pair: Encoded, layout: Layout) -> int:
    if layout in _PACKED:
        return pair.tokens
    return len(pair.prompt) + max(map(len, pair.branches))


def lay_out(pairs: Sequence[Encoded], pad_id: int, layout: Layout) -> Rows:
    """Lay pairs out as rows; see :class:`Rows`."""
    return _packed(pairs, layout) if layout in _PACKED else _padded(pairs, pad_id, layout)


def _branches_at_most(pairs: Sequence[Encoded]) -> int:
    return max(len(p.branches) for p in pairs)


def _packed(pairs: Sequence[Encoded], layout: Layout) -> Rows:
    ids: list[int] = []
    positions: list[int] = []
    predictor: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    segments: list[Segment] = []
    prefix = common_prefix([p.prompt for p in pairs])
    width = _branches_at_most(pairs)
    ids += pairs[0].prompt[:prefix]
    positions += range(prefix)
    for i, p in enumerate(pairs):
        prompt = len(p.prompt)
        segments.append(Segment(len(ids), prompt - prefix, tuple(map(len, p.branches)), prefix))
        last_prompt = len(ids) + prompt - prefix - 1
        ids += p.prompt[prefix:]
        positions += range(prefix, prompt)
        for branch, completion in enumerate(p.branches):
            predictor += [last_prompt, *range(len(ids), len(ids) + len(completion) - 1)][: len(completion)]
            target += completion
            owner += [width * i + branch] * len(completion)
            ids += completion
            positions += range(prompt, prompt + len(completion))
    columns = torch.tensor(predictor)
    return Rows(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        mask=sight_of(segments) if layout == "mask" else torch.ones((1, 1, 1, 1), dtype=torch.bool),
        keep=columns,
        row=torch.zeros_like(columns),
        kept=torch.arange(len(columns)),
        target=torch.tensor(target),
        owner=torch.tensor(owner),
        pairs=len(pairs),
        width=width,
        layout=layout,
        segments=tuple(segments) if layout == "segments" else (),
    )


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; each keeps one of its own, which predicts its completions."""
    if len(prompts) == 1:
        return 0
    shortest, first, last = min(len(p) for p in prompts), min(map(tuple, prompts)), max(map(tuple, prompts))
    # What the least and the greatest in the dictionary's order share, all share.
    return next((i for i in range(shortest - 1) if first[i] != last[i]), shortest - 1)


def _padded(pairs: Sequence[Encoded], pad_id: int, layout: Layout) -> Rows:
    width = _branches_at_most(pairs)
    branches = [(p.prompt, ids, width * i + b) for i, p in enumerate(pairs) for b, ids in enumerate(p.branches)]
    branches = [branch for branch in branches if branch[1]]  # a demonstration has no rejected response
    columns = max(len(prompt) + len(completion) for prompt, completion, _ in branches)
    # One more than the longest completion: the last prompt token predicts its first token.
    first_kept = columns - 1 - max(len(completion) for _, completion, _ in branches)
    ids = torch.full((len(branches), columns), pad_id)
    positions = torch.zeros((len(branches), columns), dtype=torch.long)
    mask = torch.zeros((len(branches), columns), dtype=torch.long)
    index: list[tuple[int, int, int, int]] = []
    for r, (prompt, completion, owner) in enumerate(branches):
        length = len(prompt) + len(completion)
        start = columns - length
        ids[r, start:] = torch.tensor([*prompt, *completion])
        positions[r, start:] = torch.arange(length)
        mask[r, start:] = 1
        before = start + len(prompt) - 1 - first_kept
        index += [(r, before + i, token, owner) for i, token in enumerate(completion)]
    row, kept, target, owners = torch.tensor(index).T
    return Rows(
        ids=ids,
        positions=positions,
        mask=mask,
        keep=torch.arange(first_kept, columns),
        row=row,
        kept=kept,
        target=target,
        owner=owners,
        pairs=len(pairs),
        width=width,
        layout=layout,
        prompt_lengths=tuple(len(prompt) for prompt, _, _ in branches) if layout == "whole" else (),
    )


def pair_log_probs(model: Any, rows: Rows, *, precise: bool = False) -> torch.Tensor:
    """Summed log-probabilities of the completions, shape (P, W), of pairs chosen and rejected; float32, differentiable.

    Args:
        precise: see :func:`completion_log_probs`.
    """
    return summed(completion_log_probs(model, rows, precise=precise), rows)


def completion_log_probs(model: Any, rows: Rows, *, precise: bool = False) -> torch.Tensor:
    """Log-probabilities of the completions' tokens (N,), whose they are: ``rows.owner``; float32, differentiable.

    Args:
        precise: also the product with the vocabulary in float32, without gradients. Layout ``plain`` leaves it to the
            model, so there it is in the model's type all the same.
    """
    found, head = predictions(model, rows)
    return token_values(found, head, rows.target, precise=precise)


def token_values(
    found: torch.Tensor, head: Head | None, targets: torch.Tensor, *, precise: bool = False
) -> torch.Tensor:
    """Log-probabilities (N,) of ``targets`` (N,) by what :func:`predictions` gave; float32, differentiable.

    Args:
        precise: see :func:`completion_log_probs`.
    """
    if head is None:
        return -F.cross_entropy(found.float(), targets, reduction="none")
    if precise and head.weight.dtype != torch.float32:
        return precise_token_log_probs(found, targets, head.weight, head.bias, head.cap)
    return token_log_probs(found, targets, head.weight, head.bias, head.cap)


def summed(token: torch.Tensor, rows: Rows) -> torch.Tensor:
    """What :func:`completion_log_probs` gave (N,), summed to (P, W)."""
    sums = torch.zeros(rows.pairs * rows.width, dtype=token.dtype, device=token.device)
    return sums.index_add(0, rows.owner, token).view(rows.pairs, rows.width)


def predictions(model: Any, rows: Rows) -> tuple[torch.Tensor, Head | None]:
    """What predicts each completion token: hidden states (N, H) and the vocabulary head, or logits (N, V) and None."""
    if rows.layout == "plain":
        return _outputs(model, rows), None
    layer, cap = _vocabulary_layer(model), logit_cap(_inner(model).config)
    with _passing_through(model, lambda hidden: hidden):
        return _outputs(model, rows), Head(layer.weight, layer.bias, cap)


def _outputs(model: Any, rows: Rows) -> torch.Tensor:
    """The model's own logits where completion tokens are predicted, (N, V)."""
    more: dict[str, Any] = {"segments": rows.segments} if rows.segments else {}
    if rows.prompt_lengths:
        more["prompt_lengths"] = rows.prompt_lengths
    mask = rows.mask
    # The columns are given as an index and not as a number: a sliced hidden state is not contiguous, and the product
    # with the vocabulary would copy the head's weight once a row (half of the whole pass on a CPU).
    found = model(
        input_ids=rows.ids,
        position_ids=rows.positions,
        attention_mask=masks_by_layer(_inner(model).config, mask, rows.positions) if rows.layout == "mask" else mask,
        use_cache=False,
        logits_to_keep=rows.keep,
        **more,
    )
    logits: torch.Tensor = found.logits
    return logits[rows.row, rows.kept]


_LARGE = 1000.0


@torch.no_grad()
def hands_on(model: Any, rows: Rows) -> bool:
    """Whether the model gives what its head gives as it is, however large; but for the cap that it tells of."""
    with _passing_through(model, lambda hidden: torch.full_like(hidden, _LARGE)):
        return bool((_outputs(model, rows) == _LARGE).all())


def logit_cap(config: Any) -> float | None:
    """What a model's configuration says that its logits are bent to within."""
    text = config.get_text_config()
    cap = next((value for name in _CAPS if (value := getattr(text, name, None))), None)
    return None if cap is None else float(cap)


# How configurations name it.
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


def _inner(model: Any) -> Any:
    """The causal language model below what wraps it."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return inner.get_base_model() if isinstance(inner, PeftModel) else inner


def _vocabulary_layer(model: Any) -> torch.nn.Linear:
    layer = _inner(model).get_output_embeddings()
    if type(layer) is not torch.nn.Linear or layer.weight.requires_grad:
        raise TypeError(f"the vocabulary head is not a frozen linear layer: {type(layer).__name__}")
    return layer


@contextmanager
def _passing_through(model: Any, given: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Within, the model's "logits" are ``given`` the hidden states of its head, and nothing caps them: the call still
    goes through the whole model (and through what wraps it for several processes), and the product is ours to do in
    chunks."""
    layer, text = _vocabulary_layer(model), _inner(model).config.get_text_config()
    caps = {name: value for name in _CAPS if (value := getattr(text, name, None))}
    layer.forward = given  # type: ignore[method-assign, assignment]
    try:
        # Past the configuration's own check of types: some know no model without a cap, and then fail in the pass.
        for name in caps:
            object.__setattr__(text, name, None)
        yield
    finally:
        del layer.__dict__["forward"]
        for name, value in caps.items():
            object.__setattr__(text, name, value)


def log_probs(
    model: Any, pairs: Sequence[EncodedPair], *, pad_id: int, layout: Layout, token_budget: int, device: torch.device
) -> torch.Tensor:
    """:func:`pair_log_probs` of any number of pairs, (P, 2), differentiable as a whole."""
    groups = pack(pairs, token_budget, layout)
    parts = [pair_log_probs(model, lay_out([pairs[i] for i in g], pad_id, layout).to(device)) for g in groups]
    place = torch.tensor([i for g in groups for i in g], device=device).argsort()
    return torch.cat(parts)[place]


def response_log_probs(
    model: Any, pairs: Sequence[EncodedPair], *, pad_id: int, layout: Layout, token_budget: int, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each pair :func:`completion_log_probs` of the chosen and of the rejected response, in their tokens' order."""
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for group in pack(pairs, token_budget, layout):
        rows = lay_out([pairs[i] for i in group], pad_id, layout).to(device)
        token = completion_log_probs(model, rows)
        for place, i in enumerate(group):
            found[i] = token[rows.owner == 2 * place], token[rows.owner == 2 * place + 1]
    return [found[i] for i in range(len(pairs))]


@torch.no_grad()
def score_pairs(
    model: Any,
    pairs: Sequence[EncodedPair],
    *,
    pad_id: int,
    layout: Layout,
    token_budget: int,
    device: torch.device,
    precise: bool = True,
    advance: Callable[[int], None] = lambda tokens: None,
    notice: Callable[[str], None] = lambda text: None,
) -> torch.Tensor:
    """:func:`pair_log_probs` of any number of pairs, (P, 2) on the CPU, without gradients.

    Several processes share the forward passes, so their number changes no value. A pass that runs out of memory is
    taken again in halves.

    Args:
        token_budget: tokens a forward pass at most.
        precise: see :func:`completion_log_probs`; False: as training computes them.
        advance: called with the number of tokens after every pass.
        notice: told when memory runs out.
    """

    def scored_group(group: list[int]) -> list[list[float]]:
        try:
            rows = lay_out([pairs[i] for i in group], pad_id, layout).to(device)
            values: list[list[float]] = pair_log_probs(model, rows, precise=precise).cpu().tolist()
            return values
        except (RuntimeError, MemoryError) as error:
            # Processes that hold pieces of one model have to take the same passes.
            if not is_out_of_memory(error) or len(group) == 1 or in_pieces():
                raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        notice(f"Out of memory while scoring {len(group)} pairs in one pass: they are taken in halves (token_budget).")
        half = len(group) // 2
        return scored_group(group[:half]) + scored_group(group[half:])

    groups = pack(pairs, token_budget, layout)
    scored: list[list[list[float]]] = []
    for group in share(groups):
        scored.append(scored_group(group))
        advance(sum(pairs[i].tokens for i in group))
    result = torch.zeros(len(pairs), 2)
    for group, values in zip(groups, gather_shares(scored), strict=True):
        result[group] = torch.tensor(values)
    return result

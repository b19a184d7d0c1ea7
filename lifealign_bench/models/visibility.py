"""Which column of a packed row sees which: the one place where masks of pairs and their branches are made.

Every column belongs to a part of the row: the beginning that all prompts share, a pair's own prompt, or a response. A
part continues at most one other, and the shared beginning is continued by all. A column sees what comes before it in
its own part, in the part that its part continues, and in the shared beginning; where the layer has a window, what is
less than so many positions back. Positions are those of the sequence by itself, so that a window holds the same tokens
as without packing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from lifealign_bench.models.attention import Segment

_SHARED = 0  # the part that all see


@dataclass(frozen=True, eq=False)
class Visibility:
    """The parts of a row of T columns.

    Args:
        part: (T,) the number of each column's part; 0: the shared beginning.
        continued: (T,) the number of the part that its part continues; its own where that is none.
        position: (T,) in the sequence by itself.
    """

    part: torch.Tensor
    continued: torch.Tensor
    position: torch.Tensor
    _blocks: dict[int | None, BlockMask] = field(default_factory=dict, init=False, repr=False)

    def to(self, device: torch.device) -> Visibility:
        """The same on ``device``."""
        return Visibility(self.part.to(device), self.continued.to(device), self.position.to(device))

    def sees(self, query: torch.Tensor, key: torch.Tensor, window: int | None = None) -> torch.Tensor:
        """Whether columns ``query`` see columns ``key``: boolean, of the shape that both have together.

        Args:
            window: positions that a layer sees, the query's own included; None: all.
        """
        return _rule(self.part, self.continued, self.position, window)(query, key)

    def mask(self, window: int | None = None) -> torch.Tensor:
        """The written-out mask, boolean (1, 1, T, T): True where the column may be seen from the row's token."""
        columns = torch.arange(len(self.part), device=self.part.device)
        return self.sees(columns[:, None], columns[None], window)[None, None]

    def blocks(self, window: int | None = None) -> BlockMask:
        """The same for ``flex_attention``, which skips what no column of a block sees; made once a window."""
        if window not in self._blocks:
            rule = _rule(self.part, self.continued, self.position, window)

            def sees(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
                return rule(query, key)

            size = len(self.part)
            self._blocks[window] = create_block_mask(sees, None, None, size, size, device=self.part.device)
        return self._blocks[window]


def _rule(
    part: torch.Tensor, continued: torch.Tensor, position: torch.Tensor, window: int | None
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """See :meth:`Visibility.sees`. A function of its own, whose tensors a compiler sees as such."""

    def sees(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        owner = part[key]
        seen = (owner == part[query]) | (owner == continued[query]) | (owner == _SHARED)
        seen = seen & (key <= query)
        return seen if window is None else seen & (position[query] - position[key] < window)

    return sees


def visibility_of(segments: Sequence[Segment]) -> Visibility:
    """The visibility in a row of these segments."""
    prefix, width = segments[0].prefix, segments[-1].end
    part = torch.zeros(width, dtype=torch.long)
    continued, position = torch.zeros_like(part), torch.arange(width)
    number = _SHARED
    for s in segments:
        first = s.start + s.prompt
        prompt = number = number + 1
        part[s.start : first] = continued[s.start : first] = prompt
        position[s.start : first] = torch.arange(prefix, prefix + s.prompt)
        for start, stop in s.columns():
            number += 1
            part[start:stop], continued[start:stop] = number, prompt
            position[start:stop] = torch.arange(prefix + s.prompt, prefix + s.prompt + stop - start)
    return Visibility(part, continued, position)

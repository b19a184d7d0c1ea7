"""Joint DPO: all tasks of the stream in one stage, the upper bound.

Not a continual-learning method: it sees every task at once, so it cannot forget, and shows what the model and the
budget allow (the "multi-task" row of continual-learning papers). A run has one stage; its score matrix has the base
model's row and the last one, and backward transfer, forgetting and the like are undefined. The loss is that of DPO
(Rafailov et al. 2023, arXiv 2305.18290), after one supervised phase on all tasks under ``--sft``.
"""

from __future__ import annotations

from collections.abc import Sequence

from lifealign_bench.method import Method, register_method


@register_method("joint")
class Joint(Method):
    """One stage that trains on all tasks together; see the module's docstring."""

    def plan(self, tasks: Sequence[str]) -> list[tuple[str, ...]]:
        """One stage with all ``tasks``."""
        return [tuple(tasks)]

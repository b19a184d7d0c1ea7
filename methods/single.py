"""Single-task DPO: each task from the base model, as if it were the only one.

Not a continual-learning method: every stage starts from the fresh adapter, so a stage knows nothing of the ones before
it. Its score on each task is what that task's data and budget give alone (the single-task or "separate" row of
continual-learning papers); the intransigence of the other methods is measured against it (Chaudhry et al. 2018,
"Riemannian Walk for Incremental Learning: Understanding Forgetting and Intransigence", arXiv 1801.10112). The loss is
that of DPO (Rafailov et al. 2023, arXiv 2305.18290), with the supervised phase before it in every stage under
``--sft``. Nothing is remembered.

After a stage only its own task is scored: each stage has a model of its own, and only the diagonal of the score matrix
belongs to this method. ``learning`` is defined; AP, ``last``, BWT and the like are not (dashes).

For intransigence, run it with the same ``--out``, model, seed and settings as the methods to be measured, on the same
stream or any that has all its tasks. Tables find the run and name it; one whose weights, data or settings differ is not
used, and they say what differs.
"""

from __future__ import annotations

from typing import ClassVar

from lifealign_bench.method import Method, register_method


@register_method("single")
class Single(Method):
    """Every stage from the base model; see the module's docstring."""

    restarts: ClassVar[bool] = True

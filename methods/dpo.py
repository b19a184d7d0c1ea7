"""Sequential DPO: train on one task after the other, with nothing against forgetting.

Rafailov et al. 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward Model"
(arXiv 2305.18290). Every hook is the default of ``Method``: the loss is equation 7 of the paper, one adapter is trained
on from task to task, and nothing is remembered. The strength beta is a training setting, not one of the method.

Under ``--sft`` each stage begins with the plain supervised phase.

This is the baseline that shows what forgetting costs when nobody prevents it.
"""

from __future__ import annotations

from lifealign_bench.method import Method, register_method


@register_method("dpo")
class DPO(Method):
    """Plain sequential preference training; see the module's docstring."""

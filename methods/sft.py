"""SFT: every stage trains on the chosen responses alone, never on the rejected ones.

Supervised fine-tuning as the first step of Ouyang et al. 2022, "Training language models to follow instructions with
human feedback" (arXiv 2203.02155), and the initialisation phase of LifeAlign (Li et al. 2026, arXiv 2509.17183), here
as a method of its own: the mean negative log-likelihood of the chosen response's tokens, on one adapter from task to
task, with nothing against forgetting. Nothing is remembered.

Every stage has the supervised phase only, whatever ``--sft`` says, with its settings ``sft_learning_rate`` and
``sft_epochs``. It shows what the preference phase adds. The adapter is scored like any other: preference accuracy
compares with the base model.
"""

from __future__ import annotations

from typing import ClassVar

from lifealign_bench.method import Method, Phase, Tuned, register_method


@register_method("sft")
class SFT(Method):
    """The supervised phase alone; see the module's docstring."""

    tunes: ClassVar[tuple[Tuned, ...]] = (Tuned("supervised.sft_learning_rate"),)

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The supervised phase, whatever is ``chosen``."""
        return ("sft",)

"""The engine of this package: padded batches, see ``generate``."""

from __future__ import annotations

from lifealign_bench.models.engines.engine import Prompting
from lifealign_bench.models.generate import generate


class BatchesEngine:
    """Batches of prompts of similar length; finished responses leave their batch."""

    label = "batches"

    def make_ready(self, asking: Prompting) -> None:
        """Find out how prompts may stand in a batch.

        Raises:
            BenchError: the model cannot be generated from.
        """
        asking.arrangement()

    def respond(self, asking: Prompting) -> list[list[int]]:
        """See :class:`~lifealign_bench.models.engines.engine.GenerationEngine`."""
        return generate(
            asking.model,
            asking.prompts,
            max_new_tokens=asking.most,
            batch_size=asking.batch_size,
            stop=asking.stop,
            pad_id=asking.pad_id,
            device=asking.device,
            stop_texts=asking.stop_texts(),
            arrangement=asking.arrangement(),
            whole=asking.layout == "whole",
            advance=asking.advance,
        )

"""One of two processes that run a configuration together, for the tests: the module that a warm process runs.

Its words: the configuration (JSON) and a folder, where the two meet and which is told what went wrong.
"""

from __future__ import annotations

import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from lifealign_bench.config import RunConfig
from lifealign_bench.models import fake as _fake  # noqa: F401 - loaded before a fork
from lifealign_bench.models import load
from lifealign_bench.models.sharding import split_layers
from lifealign_bench.runs.run import run

# A process that waits for the other one for longer fails, and says in which exchange.
EXCHANGE_SECONDS = 120


def prepare() -> None:
    """All that :func:`main` needs is imported with this module."""


def main() -> None:
    """Run it; exit code 1 and ``broke.RANK`` where that fails, ``held.RANK`` where the model is in pieces."""
    text, place = sys.argv[1:]
    folder, rank = Path(place), int(os.environ["RANK"])
    try:
        # A file is nobody else's, as a port may be by the time that both processes know it.
        store = torch.distributed.FileStore(str(folder / "meeting"), 2)  # type: ignore[attr-defined]
        torch.distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=EXCHANGE_SECONDS)
        )

        def split(model: torch.nn.Module, name: str, device: torch.device) -> None:
            split_layers(model, name, device)
            pieces = [p for p in model.parameters() if isinstance(p, DTensor)]
            held = sum(p.to_local().numel() for p in pieces), sum(p.numel() for p in pieces)
            (folder / f"held.{rank}").write_text(repr(held))

        load.split_layers = split  # type: ignore[attr-defined]
        run(RunConfig.model_validate_json(text))
    except BaseException:
        (folder / f"broke.{rank}").write_text(traceback.format_exc())
        raise


if __name__ == "__main__":
    main()

"""What generates the responses that are scored: the engines of ``--generation``."""

from __future__ import annotations

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.models.engines.batches import BatchesEngine
from lifealign_bench.models.engines.continuous import ContinuousEngine
from lifealign_bench.models.engines.engine import GenerationEngine
from lifealign_bench.models.engines.server import ServerEngine, find_generation_endpoint


def make_generation_engine(config: RunConfig) -> GenerationEngine:
    """The engine of a run; a server is not asked yet.

    Raises:
        UsageError: the server's address is missing or wrong; a model that no process has the whole of.
    """
    if config.shard and config.generation_engine != "batches":
        raise UsageError(
            f"--generation {config.generation_engine} needs the whole model in one process, and --shard splits it.",
            "Leave out one of the two.",
        )
    if config.generation_engine == "server":
        return ServerEngine(find_generation_endpoint(config.generation_url), config.generation.generation_batch_size)
    return ContinuousEngine() if config.generation_engine == "continuous" else BatchesEngine()

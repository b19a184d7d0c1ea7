"""One clock for runs that are started together: chat templates that write the date write the same in all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.util.clock import Clock


def with_one_clock(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """``configs`` with the clock that those which are yet to begin have in common.

    It is the earliest of the runs that have begun, so that a sweep which goes on another day stays one, and otherwise
    the present second. A run that has begun keeps its own, and so does one that was given one.
    """
    begun = [clock for clock in map(_begun, configs) if clock is not None]
    shared = min(begun, key=lambda clock: clock.moment, default=Clock.now()).text()
    return [
        config
        if config.clock is not None or RunFolder(config.run_directory()).config.is_file()
        else config.model_copy(update={"clock": shared})
        for config in configs
    ]


def _begun(config: RunConfig) -> Clock | None:
    """The clock that a run began with; None where it has not begun, or its file is damaged."""
    try:
        return Clock.read(json.loads(RunFolder(config.run_directory()).clock_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, UsageError):
        return None

"""All checks, in the order of the table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from lifealign_bench.conformance.checks import (
    COURSE,
    GROWTH,
    PASSES,
    PROCESSES,
    RESUME,
    SETTINGS,
    STATE,
    TRACES,
    Finding,
    MethodCheck,
)
from lifealign_bench.conformance.rollouts import ROLLOUTS
from lifealign_bench.conformance.trial import Bench
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.methods import load_method
from lifealign_bench.util.warm import Warm

CHECKS: tuple[MethodCheck, ...] = (
    *SETTINGS,
    *COURSE,
    *STATE,
    *RESUME,
    *PASSES,
    *TRACES,
    *ROLLOUTS,
    *GROWTH,
)
PROCESS_CHECKS: tuple[MethodCheck, ...] = PROCESSES


def known_method(method: str) -> None:
    """Refuse what is no method at all; one that is there and does not load is a finding.

    Raises:
        UsageError: no such method or file.
    """
    try:
        load_method(method)
    except UsageError:
        raise
    except BenchError:
        return


def examine(
    method: str,
    with_processes: bool = False,
    told: Callable[[MethodCheck], None] = lambda check: None,
    warm: Warm | None = None,
) -> list[Finding]:
    """What the checks find about a method, in the order of :data:`CHECKS`.

    The fake model and made-up tasks are used, on the CPU with one thread, in a folder that is removed afterwards.

    Args:
        method: a name or the path of a file.
        with_processes: also train in two processes, which takes some 10 seconds.
        told: called with every check before it is made.
        warm: what these processes are started from, which stays the caller's; None for one of their own.
    """
    findings = []
    with tempfile.TemporaryDirectory(prefix="lifealign-bench-check-") as folder:
        bench = Bench(method, Path(folder), warm)
        for check in (*CHECKS, *(PROCESS_CHECKS if with_processes else ())):
            told(check)
            findings.append(check.examine(bench))
    return findings

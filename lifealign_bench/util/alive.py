"""Whether a process that was known by its number and its start is still there."""

from __future__ import annotations

import psutil

# The moment of the system's start, which is read twice, may be rounded to another second.
_SAME_START_SECONDS = 1.5


def begun(pid: int | None = None) -> float:
    """When a process (this one by default) began, in seconds since the system started.

    The date of its start would not do: it moves whenever the system's clock is set right.

    Raises:
        psutil.NoSuchProcess: there is none of this number.
    """
    return float(psutil.Process(pid).create_time() - psutil.boot_time())


def lives(pid: int, since: float) -> bool:
    """Whether the process that began at ``since`` (see :func:`begun`) is there; its number may be another's by now."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and abs(begun(pid) - since) < _SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return False

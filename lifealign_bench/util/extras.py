"""Optional parts of the installation: what is missing is said beforehand, with the command that brings it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from lifealign_bench.errors import UsageError


def require_extra(module: str, extra: str, what: str) -> None:
    """Make sure that an optional package is installed, without importing it.

    Args:
        module: that it is imported by.
        extra: of this package that brings it.
        what: what was asked for, as the subject of a sentence.

    Raises:
        UsageError: it is not there.
    """
    if not _is_there(module):
        raise UsageError(
            f"{what} needs the package {module.replace('_', '-')}, which is not installed.",
            f"Install it: pip install 'lifealign-bench[{extra}]', or leave that out.",
        )


def _is_there(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    return find_spec(module) is not None

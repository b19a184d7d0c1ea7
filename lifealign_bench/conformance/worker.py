"""One of several processes that run a configuration together, which is the one word of its command line (JSON)."""

from __future__ import annotations

import sys

from lifealign_bench.config import RunConfig
from lifealign_bench.conformance import trial as _stream  # noqa: F401 - importing it registers the tasks
from lifealign_bench.models import fake as _fake  # noqa: F401 - every trial's model, loaded before a fork
from lifealign_bench.runs.run import run

# Begins the line that says why a process broke; the libraries say much besides.
MARK = "conformance worker broke: "


def prepare() -> None:
    """All that :func:`main` needs is imported with this module."""


def main() -> None:
    """Run what the command line says."""
    try:
        run(RunConfig.model_validate_json(sys.argv[1]))
    except Exception as error:
        sys.stderr.write(f"{MARK}{type(error).__name__}: {error}\n")
        raise


if __name__ == "__main__":
    main()

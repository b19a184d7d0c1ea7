"""One of several processes that run a configuration together: ``-m lifealign_bench.conformance.worker JSON``."""

from __future__ import annotations

import sys

from lifealign_bench.config import RunConfig
from lifealign_bench.conformance import trial as _stream  # noqa: F401 - importing it registers the tasks
from lifealign_bench.runs.run import run

__all__ = ["MARK"]

# Begins the line that says why a process broke; the launcher and the libraries say much besides.
MARK = "conformance worker broke: "

if __name__ == "__main__":
    try:
        run(RunConfig.model_validate_json(sys.argv[1]))
    except Exception as error:
        sys.stderr.write(f"{MARK}{type(error).__name__}: {error}\n")
        raise

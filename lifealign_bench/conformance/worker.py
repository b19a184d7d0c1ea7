"""One of several processes that run a configuration together: ``-m lifealign_bench.conformance.worker JSON``."""

from __future__ import annotations

import sys

from lifealign_bench.config import RunConfig
from lifealign_bench.conformance import stream as _stream  # noqa: F401 - importing it registers the tasks
from lifealign_bench.run import run

if __name__ == "__main__":
    run(RunConfig.model_validate_json(sys.argv[1]))

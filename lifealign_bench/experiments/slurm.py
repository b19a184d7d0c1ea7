"""The runs of a sweep as a Slurm job array: a config file a run, and the script whose tasks take one each.

Nothing of Slurm is needed to write it. A task that is cut off or fails is submitted again with the same script: runs
that are finished are shown and not trained again, the others go on at their last checkpoint.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.configfile import write_dump
from lifealign_bench.experiments.engines.words import SweepWords, parse_size

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=lifealign-bench
#SBATCH --array=0-{last}
#SBATCH --nodes=1 --ntasks=1
{resources}
#SBATCH --requeue
#SBATCH --output={folder}/task-%a.log
# The run stops at its next checkpoint, five minutes before its time is over.
#SBATCH --signal=B:TERM@300
set -euo pipefail
cd {here}
start=({start})
# What starts the package here; another one may be said in the environment of sbatch.
if [ -n "${{LIFEALIGN_BENCH_START:-}}" ]; then read -ra start <<< "$LIFEALIGN_BENCH_START"; fi
exec "${{start[@]}}" run --config {folder}/run-"$SLURM_ARRAY_TASK_ID".yaml
"""


def write_job_array(configs: Sequence[RunConfig], wanted: SweepWords, folder: Path) -> Path:
    """The script, in ``folder``, which is made.

    Raises:
        UsageError: there are no runs; the folder is there already; words of a sweep that a job array cannot keep.
    """
    for name, value in (("--jobs", wanted.jobs), ("--devices", wanted.devices), ("--retries", wanted.retries)):
        if value is not None:
            raise UsageError(
                f"{name} says nothing to a job array: Slurm decides how many tasks go on, where, and how often.",
                f"Leave out {name}; sbatch --array=0-9%4 has four tasks at a time.",
            )
    if wanted.engine != "local":
        raise UsageError("--slurm and --engine ray are two ways to spread runs.", "Leave out one of them.")
    if folder.exists():
        raise UsageError(f"There is a {folder} already.", "Give --slurm a folder that does not exist yet.")
    place = folder.absolute()
    gpus = wanted.gpus_per_run if wanted.gpus_per_run is not None else int(any(c.device != "cpu" for c in configs))
    resources = [f"#SBATCH --gpus-per-node={gpus}"] if gpus else []
    if wanted.memory is not None:
        resources.append(f"#SBATCH --mem={parse_size(wanted.memory) // 2**20}M")
    threads = {config.threads for config in configs} - {None}
    resources.append(f"#SBATCH --cpus-per-task={max((t for t in threads if t), default=8) * max(1, gpus)}")
    launch = [sys.executable, "-m"]
    if gpus > 1:
        launch += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(gpus), "-m"]
    folder.mkdir(parents=True)
    for number, config in enumerate(configs):
        write_dump([config], folder / f"run-{number}.yaml")
    script = folder / "array.sbatch"
    script.write_text(
        _SCRIPT.format(
            last=len(configs) - 1,
            resources="\n".join(resources),
            folder=shlex.quote(str(place)),
            here=shlex.quote(str(Path.cwd())),
            start=shlex.join([*launch, "lifealign_bench"]),
        ),
        encoding="utf-8",
    )
    return script

"""A job array that a sweep writes, started task by task as Slurm would, without Slurm."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.engines.words import SweepWords
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.slurm import write_job_array
from tests.command import Call

FAKE = ("sweep", "--model", "fake", "--stream", "fake", "--method", "dpo,ewc", "--seed", "0,3")


def test_every_task_of_the_array_is_a_run_of_the_sweep(call: Call, tmp_path: Path) -> None:
    code, _, said = call(*FAKE, "--slurm", "my jobs/array", "--memory-per-run", "64G", "--out", "elsewhere")
    script = tmp_path / "my jobs" / "array" / "array.sbatch"
    assert code == 0 and "sbatch" in said and not (tmp_path / "elsewhere").exists()
    text = script.read_text()
    assert re.findall(r"^#SBATCH .*", text, re.MULTILINE)[1] == "#SBATCH --array=0-3"
    assert "--gpus-per-node=1" in text and "--mem=65536M" in text and "--signal=B:TERM@300" in text
    subprocess.run(["bash", "-n", str(script)], check=True)
    wanted = build_configs(
        Words(method=("dpo", "ewc"), stream=("fake",), model="fake", seed=("0", "3"), out=Path("elsewhere"))
    ).configs
    found = []
    for task in range(4):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "LIFEALIGN_BENCH_START": "printf %s\\n"}
        done = subprocess.run(
            ["bash", str(script)], check=True, capture_output=True, text=True, env=environment, cwd="/"
        )
        words = done.stdout.splitlines()
        assert words[:2] == ["run", "--config"]
        found.append(build_configs(Words(config=Path(words[2]))).configs)
    assert found == [(config,) for config in wanted]


def test_several_gpus_a_task_are_several_processes(tmp_path: Path) -> None:
    configs = build_configs(Words(method=("dpo",), stream=("fake",), model="fake")).configs
    text = write_job_array(configs, SweepWords(gpus_per_run=4), tmp_path / "jobs").read_text()
    assert "--gpus-per-node=4" in text and "--cpus-per-task=32" in text and "--nproc_per_node 4 -m" in text
    plain = configs[0].model_copy(update={"device": "cpu", "threads": 3})
    text = write_job_array([plain], SweepWords(), tmp_path / "cpu").read_text()
    assert "--gpus" not in text and "--cpus-per-task=3\n" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (SweepWords(jobs=2), "--jobs says nothing"),
        (SweepWords(devices="cuda:0"), "--devices says nothing"),
        (SweepWords(retries=1), "--retries says nothing"),
        (SweepWords(engine="ray"), "two ways"),
    ],
)
def test_words_that_an_array_cannot_keep_are_refused(words: SweepWords, told: str, tmp_path: Path) -> None:
    configs = build_configs(Words(method=("dpo",), stream=("fake",), model="fake")).configs
    with pytest.raises(UsageError, match=told):
        write_job_array(configs, words, tmp_path / "jobs")
    assert not (tmp_path / "jobs").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    configs = build_configs(Words(method=("dpo",), stream=("fake",), model="fake")).configs
    with pytest.raises(UsageError, match="already"):
        write_job_array(configs, SweepWords(), tmp_path)

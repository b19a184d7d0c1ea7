"""References, what methods replay, and sampled responses take no room on a GPU: runs on a stand-in for one."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
from accelerate import PartialState

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.methods import load_method
from lifealign_bench.runs import run as running
from tests.far_device import FAR, live, make_far
from tests.places import ROOT

# One that replays, with what was said then; one that samples. Both refer to the base model.
METHODS: dict[str, dict[str, Any]] = {"derpp": {"replay_fraction": 1.0}, "online_dpo": {}}


def watch(folder: Path) -> None:
    """Runs on the device, in this process, telling at every optimizer step what lies there beside the model."""
    library = make_far()
    place = torch.device(f"{FAR}:0")
    # Whom a run would ask where a GPU is, and what that is called.
    vars(running)["join"] = lambda cpu: PartialState(cpu=True)
    transformers.TrainingArguments.device = property(lambda self: place)
    accelerate.Accelerator.device = property(lambda self: place)
    torch.cuda.get_device_name = lambda device=None: FAR
    for method, settings in METHODS.items():
        with (folder / method).open("w") as file:
            spy_on(load_method(method), lambda found, file=file: print(json.dumps(found), file=file))  # type: ignore[misc]
            config = RunConfig(
                **{"method": method, "method_settings": settings, "stream": "fake", "model": "fake", "device": "cpu"},
                **{"tasks": ("fake-upper", "fake-lower"), "train_limit": 2, "test_limit": 1, "evaluate": "last"},
                **{"scorers": ("preference",), "dtype": "float32", "sft": False, "out": folder / "runs"},
                training=TrainingConfig(batch_size=2),
                generation=GenerationConfig(max_new_tokens=2),
            )
            running.run(config.model_copy(update={"device": FAR}))
    del library


def spy_on(cls: Any, tell: Callable[[dict[str, Any]], None]) -> None:
    """Look at the device whenever the method has its gradients."""
    asked = cls.on_gradients

    def on_gradients(method: Any, model: torch.nn.Module) -> None:
        gc.collect()
        parameters = list(model.parameters())
        known = {id(t) for p in (*parameters, *model.buffers()) for t in (p, p.grad)}
        tell(
            {
                "places": sorted({str(p.device) for p in parameters}),
                "trained": [list(p.shape) for p in parameters if p.requires_grad],
                "beside": [[list(t.shape), t.is_floating_point()] for t in live() if id(t) not in known],
            }
        )
        asked(method, model)

    cls.on_gradients = on_gradients


def test_beside_the_model_and_its_optimizer_nothing_lies_on_the_device(tmp_path: Path) -> None:
    # A fork would not do: autograd knows the devices that were there when it first began.
    words = "import sys, pathlib, tests.training.test_off_the_gpu as t; t.watch(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", words, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for method in METHODS:
        steps = [json.loads(line) for line in (tmp_path / method).read_text().splitlines()]
        assert len(steps) >= 2  # one of each of two stages, at least
        for step in steps:
            assert step["places"] == [f"{FAR}:0"]
            moments = Counter(tuple(shape) for shape in step["trained"])
            values = Counter(tuple(shape) for shape, is_float in step["beside"] if is_float and shape)
            # AdamW's two moments of what is trained; beside them losses and norms, which are single numbers. A
            # reference is two numbers a pair, and what is kept of a response one a token.
            assert values <= moments + moments, method

"""References, what methods replay, and sampled responses take no room on a GPU: a run on a stand-in for one."""

from __future__ import annotations

import gc
import json
import os
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
import transformers
from accelerate import PartialState

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.methods import load_method
from lifealign_bench.runs import run as running
from tests.far_device import FAR, live, make_far

Make = Callable[..., RunConfig]


def watched(config: RunConfig, tell: Callable[[dict[str, Any]], None]) -> None:
    """The run on the device, telling at every optimizer step what lies there beside the model."""
    library = make_far()
    place = torch.device(f"{FAR}:0")
    cls: Any = load_method(config.method)
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
    # Whom the run would ask where a GPU is, and what that is called.
    vars(running)["join"] = lambda cpu: PartialState(cpu=True)
    transformers.TrainingArguments.device = property(lambda self: place)
    accelerate.Accelerator.device = property(lambda self: place)
    torch.cuda.get_device_name = lambda device=None: FAR
    running.run(config.model_copy(update={"device": FAR}))
    del library


@pytest.mark.parametrize(("method", "settings"), [("derpp", {"replay_fraction": 1.0}), ("online_dpo", {})])
def test_beside_the_model_and_its_optimizer_nothing_lies_on_the_device(
    fake_config: Make, tmp_path: Path, method: str, settings: dict[str, float]
) -> None:
    config = fake_config(
        method=method,
        method_settings=settings,
        tasks=("fake-upper", "fake-lower"),
        train_limit=2,
        test_limit=1,
        scorers=("preference",),
        evaluate="last",
        training=TrainingConfig(batch_size=2),
        generation=GenerationConfig(max_new_tokens=2),
    )
    told, error = tmp_path / "told", tmp_path / "error"
    child = os.fork()  # a device is for good, and another process would load everything again
    if child == 0:
        code = 1
        try:
            with told.open("w") as file:
                watched(config, lambda found: print(json.dumps(found), file=file))
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must never go back into the tests
            error.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, error.read_text()
    steps = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(steps) >= 2  # one of each of two stages, at least
    for step in steps:
        assert step["places"] == [f"{FAR}:0"]
        moments = Counter(tuple(shape) for shape in step["trained"])
        values = Counter(tuple(shape) for shape, is_float in step["beside"] if is_float and shape)
        # AdamW's two moments of what is trained; beside them losses and norms, which are single numbers. A reference
        # is two numbers a pair, and what is kept of a response one a token.
        assert values <= moments + moments

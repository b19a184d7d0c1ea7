"""The conformance suite: every method passes it, and methods that are broken on purpose do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lifealign_bench.conformance.checks import WORKER, Finding
from lifealign_bench.conformance.suite import CHECKS, PROCESS_CHECKS, examine
from lifealign_bench.conformance.trial import Bench
from lifealign_bench.methods import method_files
from lifealign_bench.util.warm import Warm
from tests.places import TESTS

HERE = TESTS
BY_NAME = {check.name: check for check in (*CHECKS, *PROCESS_CHECKS)}


def failures(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.check, f.found) for f in findings if not f.passed]


@pytest.mark.parametrize("method", sorted(method_files()))
def test_built_in_methods_conform(method: str) -> None:
    findings = examine(method)
    assert failures(findings) == []
    assert [f.check for f in findings] == [check.name for check in CHECKS]


def test_a_method_whose_state_changes_inside_a_stage_resumes(tmp_path: Path) -> None:
    bench = Bench(str(HERE / "stateful_method.py"), tmp_path)
    for name in ("state survives saving", "resumes in sft", "resumes in preference"):
        assert BY_NAME[name].examine(bench).result == "pass"


# What starts processes: one worker has the warm one.
GROUP = pytest.mark.xdist_group("conformance processes")


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """What all processes of this file are started from: the libraries are loaded once."""
    server = Warm(WORKER)
    yield server
    server.close()


@pytest.mark.model
@GROUP
def test_two_processes_are_as_one(tmp_path: Path, warm: Warm) -> None:
    (check,) = PROCESS_CHECKS
    assert check.examine(Bench("replay", tmp_path, warm)).result == "pass"


HEAD = '''
"""Broken on purpose."""
import random

import numpy as np
import torch
from pydantic import Field

from lifealign_bench.method import Method, MethodConfig, register_method

KEPT = []


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


@register_method("broken")
class Broken(Method):
    """See the test."""

    calls = 0
    kept = None
'''

BROKEN = {
    "no default": ("settings", "strength has no default"),
    "no description": ("settings", "strength has no description"),
    "thawed": ("settings", "frozen False"),
    "one factor": ("tuning", "has 1 usable factor of 'training.learning_rate'. Give two or more"),
    "unknown strength": ("tuning", "has 'method.strength', which is no setting"),
    "margins in sft": ("both phases", "RuntimeError: "),
    "not finite": ("both phases", "nan"),
    "needs sft": ("preference alone", "KeyError: 'strength'"),
    "array as state": ("state is plain", "state_dict()['kept'] is of type ndarray"),
    "tuple as state": ("state is plain", "is of type tuple"),
    "forgets to load": ("state survives saving", "'calls' differs"),
    "cannot load": ("state survives saving", "TypeError: no thanks (broken.py, line "),
    "loads another type": ("state survives saving", "'kept' differs: type torch.float64 and torch.float32"),
    "counter not saved": ("resumes in sft", "after stage 2, the adapter"),
    "average not saved": ("resumes in preference", "after stage 2, the adapter"),
    "used a stage later": ("resumes in preference", "after stage 3, the adapter"),
    "centres the batch": ("passes in training", "apart by"),
    "divides by the batch": ("passes in training", "apart by"),
    "mixes the rows": ("passes in scoring", "log-probabilities differ by"),
    "leaks a hook": ("leaves no trace", "the hooks on base_model.model.model.layers.0 was not there and is 1"),
    "leaks a gradient hook": ("leaves no trace", "the gradient hooks on"),
    "patches a forward": ("leaves no trace", "the forward of base_model.model.model.layers.0 was not there and is pat"),
    "freezes": ("leaves no trace", "lora_A.default.weight was trained and is frozen"),
    "leaves gradients": ("leaves no trace", "the gradient of"),
    "leaves training mode": ("leaves no trace", "is in training mode"),
    "changes torch": ("leaves no trace", "torch's default type was torch.float32 and is torch.float64"),
    "generates by itself": ("samples in the stage", "sampled from in before_stage (model.generate)"),
    "samples by itself": ("samples in the stage", "sampled from in on_gradients (passes with a cache)"),
    "asks for too much": ("both phases", "asks for 1 responses to a prompt and declares 0"),
    "answers by the batch": ("rollouts alone", "has other responses alone than beside 5 other pairs"),
    "draws from torch": ("own randomness", "moved by before_stage (torch)"),
    "draws from random and numpy": ("own randomness", "moved by training_pairs (random), on_gradients (numpy)"),
    "keeps gradients": ("memory", "more tensors alive from stage 4 to 10"),
    "keeps losses in a global": ("memory", "more tensors alive from stage 4 to 10"),
    "depends on the process": ("two processes", "after stage 1 the adapters are apart by"),
    "breaks in two": ("two processes", "two processes broke: RuntimeError: only for one"),
    "grows one tensor": ("memory", "bytes of tensors more from stage 4 to 10"),
    "keeps texts": ("memory", "bytes of lists, texts and arrays more"),
}

BODIES = {
    "depends on the process": """
def on_gradients(self, model):
    from lifealign_bench.util.distributed import is_main
    for p in trained(model):
        p.grad *= 1.0 if is_main() else -1.0
def pair_loss(self, logits, batch):
    from lifealign_bench.util.distributed import world_size
    return super().pair_loss(logits, batch) * (1 + logits * (world_size() - 1))
""",
    "breaks in two": """
def before_stage(self, stage, model):
    from lifealign_bench.util.distributed import world_size
    if world_size() > 1:
        raise RuntimeError('only for one')
""",
    "no default": "class Config(MethodConfig):\n    strength: float = Field(description='x')",
    "no description": "class Config(MethodConfig):\n    strength: float = 1.0",
    "thawed": "class Config(MethodConfig):\n    model_config = {'frozen': False}",
    "one factor": """
from lifealign_bench.method import Tuned
tunes = (Tuned('training.learning_rate', (2.0,)),)
""",
    "unknown strength": """
from lifealign_bench.method import RATE, Tuned
tunes = (RATE, Tuned('method.strength', (0.1, 1.0)))
""",
    "margins in sft": "def before_stage(self, stage, model):\n    stage.margins(model, stage.pairs[:1])",
    "not finite": """
def after_stage(self, stage, model):
    if stage.final and stage.index == 3:
        trained(model)[0].data.fill_(float('nan'))
""",
    "needs sft": """
def before_stage(self, stage, model):
    if stage.phase == 'sft':
        self.kept = {'strength': 1.0}
    (self.kept or {})['strength']
""",
    "array as state": "def state_dict(self):\n    return {'kept': np.zeros(2)}",
    "tuple as state": "def state_dict(self):\n    return {'kept': (1, 2)}",
    "forgets to load": """
def on_gradients(self, model):
    self.calls += 1
def state_dict(self):
    return {'calls': self.calls}
""",
    "cannot load": "def load_state_dict(self, state):\n    raise TypeError('no thanks')",
    "loads another type": """
def state_dict(self):
    return {'kept': torch.zeros(2, dtype=torch.float64) if self.kept is None else self.kept}
def load_state_dict(self, state):
    self.kept = state['kept'].float()
""",
    "counter not saved": """
def on_gradients(self, model):
    self.calls += 1
    for p in trained(model):
        p.grad *= 1 / self.calls
""",
    "average not saved": """
def pair_loss(self, logits, batch):
    self.kept = logits.detach().mean() if self.kept is None else (self.kept + logits.detach().mean()) / 2
    return super().pair_loss(logits, batch) * (1 + self.kept)
""",
    "used a stage later": """
def on_gradients(self, model):
    self.calls += 1
def before_stage(self, stage, model):
    if stage.index == 3:
        trained(model)[0].data.mul_(self.calls)
""",
    "centres the batch": """
def pair_loss(self, logits, batch):
    return super().pair_loss(logits - logits.mean(), batch)
""",
    "divides by the batch": """
def pair_loss(self, logits, batch):
    return super().pair_loss(logits, batch) / len(logits)
""",
    "mixes the rows": """
def prepare(self, model, stages):
    model.get_base_model().model.layers[0].register_forward_hook(lambda m, i, o: o + o.mean((0, 1)))
    return model
""",
    "leaks a hook": """
def before_stage(self, stage, model):
    model.get_base_model().model.layers[0].register_forward_hook(lambda m, i, o: None)
""",
    "leaks a gradient hook": """
def after_stage(self, stage, model):
    trained(model)[0].register_hook(lambda g: None)
""",
    "patches a forward": """
def before_stage(self, stage, model):
    layer = model.get_base_model().model.layers[0]
    layer.forward = layer.forward
""",
    "freezes": "def after_stage(self, stage, model):\n    trained(model)[0].requires_grad_(False)",
    "leaves gradients": """
def after_stage(self, stage, model):
    stage.losses(model, stage.pairs[:1]).sum().backward()
""",
    "leaves training mode": "def after_stage(self, stage, model):\n    model.train()",
    "changes torch": "def after_stage(self, stage, model):\n    torch.set_default_dtype(torch.float64)",
    "generates by itself": """
def before_stage(self, stage, model):
    model.eval().generate(input_ids=torch.tensor([[2, 9]]), max_new_tokens=2, do_sample=False)
""",
    "samples by itself": """
def on_gradients(self, model):
    with torch.no_grad():
        model(input_ids=torch.tensor([[2, 9]]), use_cache=True)
""",
    "asks for too much": "def before_stage(self, stage, model):\n    stage.sample(model, stage.pairs[:1], 1, 1.0, 1.0)",
    "answers by the batch": """
def samples(self):
    return 2
def phases(self, chosen):
    return ("on_policy",)
def rollouts(self, stage, model, pairs):
    from lifealign_bench.method import Group
    said = stage.sample(model, pairs, 2, 1.0, 1.0)
    # Which response is taken depends on the place in the step.
    return [Group(p, (r[i % 2],), (1.0,)) for i, (p, r) in enumerate(zip(pairs, said))]
""",
    "draws from torch": "def before_stage(self, stage, model):\n    torch.rand(1)",
    "draws from random and numpy": """
def training_pairs(self, stage, pairs):
    return random.sample(list(pairs), len(pairs))
def on_gradients(self, model):
    np.random.rand()
""",
    "keeps gradients": """
def on_gradients(self, model):
    self.kept = [*(self.kept or []), *(p.grad.clone() for p in trained(model))]
""",
    "keeps losses in a global": """
def pair_loss(self, logits, batch):
    losses = super().pair_loss(logits, batch)
    KEPT.append(losses)
    return losses
""",
    "grows one tensor": """
def on_gradients(self, model):
    flat = torch.cat([p.grad.flatten() for p in trained(model)])
    self.kept = flat if self.kept is None else torch.cat([self.kept, flat])
""",
    "keeps texts": """
def after_stage(self, stage, model):
    self.kept = [*(self.kept or []), *(f'{p.prompt} {p.chosen} {p.rejected}' for p in stage.pairs)]
""",
}


def broken(folder: Path, name: str, warm: Warm | None = None) -> Bench:
    body = "".join(f"    {line}\n" for line in BODIES[name].strip().split("\n"))
    (folder / "broken.py").write_text(HEAD + "\n" + body)
    (folder / "runs").mkdir()
    return Bench(str(folder / "broken.py"), folder / "runs", warm)


@pytest.fixture(autouse=True)
def forget_broken() -> Iterator[None]:
    """Every case is a method of the same name."""
    from lifealign_bench.method import METHODS

    yield
    METHODS.forget(["broken"])


def caught(case: str, bench: Bench) -> None:
    check, found = BROKEN[case]
    finding = BY_NAME[check].examine(bench)
    assert finding.result == "fail", finding
    assert found in finding.found
    assert finding.expected and finding.remedy


@pytest.mark.parametrize("case", [case for case, (check, _) in BROKEN.items() if check != "two processes"])
def test_what_is_broken_is_caught_by_its_check(tmp_path: Path, case: str) -> None:
    caught(case, broken(tmp_path, case))


@pytest.mark.model
@GROUP
@pytest.mark.parametrize("case", [case for case, (check, _) in BROKEN.items() if check == "two processes"])
def test_what_is_broken_in_two_processes_is_caught(tmp_path: Path, case: str, warm: Warm) -> None:
    caught(case, broken(tmp_path, case, warm))

"""Nothing is computed twice: the tokens that go through the model in a run are those of the pairs, and no more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from lifealign_bench.config import GenerationConfig, RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.data.tasks import load_data
from lifealign_bench.method import Method, MethodConfig
from lifealign_bench.models import speaker as base
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.load import fingerprint
from lifealign_bench.models.logprobs import lay_out, pack
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session, _probe
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Tokens through the model: in training passes, in passes over pairs without gradients, in generation."""
    tokens: Counter[str] = Counter()
    original = LlamaForCausalLM.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        kind = "generate" if kwargs.get("past_key_values") is not None else "pairs"
        if kind == "pairs" and torch.is_grad_enabled():
            kind = "train"
        tokens[kind] += kwargs["input_ids"].numel()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    return tokens


def sizes(config: RunConfig) -> tuple[int, int]:
    """Tokens of one pass over the training pairs and of one over the test pairs, as they are packed."""
    session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())

    def passes(pairs: list[EncodedPair]) -> int:
        groups = pack(pairs, config.tokens_a_pass(), session.speaker.layout)
        return sum(lay_out([pairs[i] for i in g], 0, session.speaker.layout).ids.numel() for g in groups)

    train, test = (sum(passes(pairs) for pairs in part.values()) for part in (session.train, session.test))
    return train, test


def test_a_run_is_its_training_and_one_scoring_pass_a_stage(fake_config: Make, counted: Counter[str]) -> None:
    # One pair a pass: then it does not matter in which order training takes them.
    config = fake_config(method="dpo", scorers=("preference",), token_budget=33)
    train, test = sizes(config)
    probe = counted["pairs"]  # the layout is tried out on a few pairs
    counted.clear()
    run(config)
    stages = 3
    assert counted["train"] == train * config.training.epochs
    # Stage 0 is the base model's one pass over the test pairs, and its references are one over the training pairs.
    assert counted["pairs"] == probe + (stages + 1) * test + train
    counted.clear()
    # Another method, another seed: what the base model says is on disk.
    run(
        fake_config(method="ewc", seed=1, scorers=("preference",), method_settings={"fisher_pairs": 1}, token_budget=33)
    )
    fisher = counted["train"] - train
    assert 0 < fisher < train / 4
    assert counted["pairs"] == probe + stages * test
    assert counted["generate"] == 0


def test_training_refers_to_what_training_computes_and_scores_are_more_precise(
    fake_config: Make, own_cache: Path
) -> None:
    """An untouched model has the margin 0 at its first step, in bfloat16 as well; a score is not rounded to it."""
    config = fake_config(dtype="bfloat16", token_budget=200)
    session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())
    pairs = session.train["fake-upper"]
    reference = session.references(["fake-upper"])
    with torch.no_grad():
        trained = session.speaker.log_probs(session.model, pairs)
    assert torch.equal(torch.stack([reference[p.pair.id] for p in pairs]), trained)
    assert not torch.equal(session.speaker.base_score(pairs), trained)
    assert torch.allclose(session.speaker.base_score(pairs), trained, atol=0.2)
    assert len(list((own_cache / "logprobs").iterdir())) == 2, "one kind was taken for the other"


def test_scoring_is_linear_in_the_tasks(fake_config: Make, counted: Counter[str]) -> None:
    """Twice the tasks over twice the stages: N times the test set a stage, not more."""
    found = []
    for tasks in (("fake-upper",), ("fake-upper", "fake-lower")):
        config = fake_config(stream=",".join(tasks), tasks=tasks)
        _, test = sizes(config)
        probe = counted["pairs"]
        run(config)  # fills the cache
        counted.clear()
        run(config.model_copy(update={"seed": 1}))
        assert counted["pairs"] == probe + len(tasks) * test
        found.append(counted["generate"] / len(tasks) / test)
        counted.clear()
    assert found[1] == pytest.approx(found[0], rel=0.35)


def test_what_the_base_model_says_is_kept_by_all_that_determines_it(
    fake_config: Make, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fresh(**changes: Any) -> Session:
        config = fake_config(**changes)
        session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())
        counted.clear()
        return session

    def computed(session: Session, stop: tuple[str, ...] = ()) -> tuple[bool, bool]:
        session.speaker.base_score(session.test["fake-upper"])
        task = session.data["fake-upper"]
        session.data = {**session.data, "fake-upper": replace(task, card=task.card.model_copy(update={"stop": stop}))}
        session.exam.base_responses()
        return counted["pairs"] > 0, counted["generate"] > 0

    assert computed(fresh()) == (True, True)
    assert computed(fresh()) == (False, False)
    another_order = fresh(tasks=("fake-digits", "fake-lower", "fake-upper"))
    assert computed(another_order) == (False, False)
    assert another_order.exam.base_responses() == fresh().exam.base_responses()
    assert computed(fresh(token_budget=100)) == (True, True)
    assert computed(fresh(generation=GenerationConfig(max_new_tokens=5))) == (False, True)
    assert computed(fresh(), stop=("x",)) == (False, True)
    other = fresh()
    other.speaker = replace(other.speaker, base=replace(other.base, fingerprint="another"))
    assert computed(other) == (True, True)
    other = fresh()
    other.speaker = replace(other.speaker, layout="mask")
    other.base.model.set_attn_implementation("sdpa")
    assert computed(other) == (True, True)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert computed(fresh()) == (True, True)
    finally:
        torch.set_num_threads(before)
    # As the module knows them: a library may put another object into the place of its lazy module while it is imported.
    libraries = (vars(base)["torch"], vars(base)["transformers"])
    for module, name in (*((library, "__version__") for library in libraries), (base, "_code")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, (lambda: "other") if name == "_code" else "0.0")
            assert computed(fresh()) == (True, True), (module.__name__, name)
    assert computed(fresh()) == (False, False)


def test_the_configuration_of_a_model_is_part_of_its_fingerprint() -> None:
    model, tokenizer = fake_model()
    before = fingerprint(model, tokenizer)
    model.config.rms_norm_eps = 1e-3
    changed = fingerprint(model, tokenizer)
    model.generation_config.eos_token_id = 7
    assert len({before, changed, fingerprint(model, tokenizer)}) == 3
    assert fingerprint(*fake_model()) == before


def test_stop_texts_of_a_card_end_the_responses_of_a_run(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(fake_config())
    lines = (fake_config().run_directory() / "stage-1" / "generations.jsonl").read_text().splitlines()
    whole = next(r for r in (json.loads(line)["response"] for line in lines) if len(r) > 2)
    card = load_task("fake-upper").model_copy(update={"stop": (whole[1],)})
    monkeypatch.setattr("lifealign_bench.data.tasks.load_task", lambda name: card)
    config = fake_config(out=fake_config().out / "stopped", tasks=("fake-upper",), stream="fake-upper")
    record = run(config)
    assert record.status == plain.status == "complete"
    for stage in (0, 1):
        lines = (config.run_directory() / f"stage-{stage}" / "generations.jsonl").read_text().splitlines()
        assert lines and all(whole[1] not in json.loads(line)["response"] for line in lines)


def test_with_a_sliding_window_a_pair_beyond_it_is_tried(fake_config: Make) -> None:
    config = fake_config()
    session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())
    pairs = session.train["fake-upper"]
    assert len(_probe(session.base, pairs)) == 3
    session.base.model.config.sliding_window = 12
    longest = max(pairs, key=lambda p: p.tokens)
    assert _probe(session.base, pairs)[-1].tokens == longest.tokens

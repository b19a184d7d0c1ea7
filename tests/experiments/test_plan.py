"""What a dry run says is what a run would do, and it reads no weights."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import PreTrainedModel

from lifealign_bench.cli.run import launch_line
from lifealign_bench.config import PRESETS, AdapterConfig, RunConfig, SftConfig, TrainingConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.data.tasks import load_data, load_task_data
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.estimate import COUNTS, GPUS, estimated_lengths, find_facts, shape_of
from lifealign_bench.experiments.plan import Plan, make_plan
from lifealign_bench.methods import load_method, method_names
from lifealign_bench.models.encode import encode_pairs
from lifealign_bench.models.fake import fake_model
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.reporting.tables.plan import plan_summary
from lifealign_bench.reporting.tables.run import render_plan
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.runs.stages import planned_work
from lifealign_bench.training.workload import lengths_of, workload_of
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]
H100 = GPUS["H100"]
PAPER = str(PRESETS["paper"]["model"])


@pytest.mark.parametrize("method", ["dpo", "joint", "olora"])
def test_a_plan_is_what_a_session_would_do(fake_config: Make, method: str) -> None:
    config = fake_config(method=method, sft=True)
    plan = make_plan(config, H100)
    session = Session.build(config, load_data(config, Progress()), make_method(config), Progress())
    train = {name: lengths_of(pairs) for name, pairs in session.train.items()}
    test = {name: lengths_of(pairs) for name, pairs in session.test.items()}
    assert plan.shape.cost == session.pass_cost()
    assert plan.work == workload_of(config, session.method, train, test, list(session.data), session.pass_cost())
    assert plan.shape.parameters == session.base.parameters
    assert plan.shape.trainable == sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    work = planned_work(session, None)
    assert work.stages == len(plan.work.stages) and work.total > sum(s.tokens for s in plan.work.stages)


def test_a_plan_reads_no_weights(fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = fake_model()
    model.save_pretrained(tmp_path / "own")
    tokenizer.save_pretrained(tmp_path / "own")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the weights are read")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse)
    (tmp_path / "own" / "model.safetensors").unlink()
    plan = make_plan(fake_config(model=str(tmp_path / "own")), H100)
    assert plan.shape.parameters == sum(p.numel() for p in model.parameters())
    assert plan.here.seconds is not None and plan.here.seconds > 0
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", method_names())
def test_every_method_can_be_planned(fake_config: Make, name: str) -> None:
    facts = find_facts(fake_config())
    cls = load_method(name)
    shape, notices = shape_of(facts, fake_config(), cls(cls.Config()), 3)
    assert 0 < shape.trainable < shape.parameters and notices == ()


def test_the_papers_model_without_a_network_has_its_published_shape(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    plan = make_plan(fake_config(model=PAPER, dtype="bfloat16", adapter=AdapterConfig()), H100)
    assert plan.shape.parameters == 7_615_616_512  # 7.62 billion, as its makers say
    # r 8 on q_proj (3584 -> 3584) and v_proj (3584 -> 512) of 28 layers.
    assert plan.shape.trainable == 28 * 8 * ((3584 + 3584) + (3584 + 512))
    assert plan.shape.kv_width == 4 * 128
    assert plan.tokens_estimated and any("estimated: the tokenizer of" in text for text in plan.notices)
    assert plan.here.seconds is None
    assert plan.gpus[0].memory_bytes > 2 * plan.shape.parameters


def test_another_model_that_is_not_at_hand_is_one_clear_error(fake_config: Make) -> None:
    with pytest.raises(BenchError, match="nothing is known of its shape") as caught:
        make_plan(fake_config(model="nobody/knows-it"), H100)
    assert "network" in caught.value.remedy


def test_tasks_that_are_not_at_hand_are_named_and_the_rest_is_planned(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    plan = make_plan(fake_config(tasks=("fake-upper", "HC3", "fake-lower")), H100)
    assert [task.name for task in plan.tasks] == ["fake-upper", "fake-lower"]
    assert list(plan.missing) == ["HC3"] and "missing" in plan.missing["HC3"]
    assert plan.config.tasks == ("fake-upper", "HC3", "fake-lower")
    assert "Not available" in shown(plan, 100)
    with pytest.raises(BenchError, match="no task of fake is available"):
        make_plan(fake_config(tasks=("HC3",)), H100)


def test_what_would_stop_a_run_stops_its_plan(fake_config: Make) -> None:
    with pytest.raises(BenchError, match="called qproj"):
        make_plan(fake_config(adapter=AdapterConfig(target_modules=("qproj",))), H100)
    with pytest.raises(BenchError, match="no train pairs within the cut-off"):
        make_plan(fake_config(training=TrainingConfig(max_length=8)), H100)


def test_a_cut_off_beyond_the_models_context_is_refused_with_the_remedy(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = fake_model()
    model.config.max_position_embeddings = 12
    monkeypatch.setattr("lifealign_bench.experiments.estimate.fake_model", lambda: (model, tokenizer))
    with pytest.raises(BenchError, match="a context of 12") as caught:
        make_plan(fake_config(), H100)
    assert "--set max_length=12" in caught.value.remedy


def test_a_model_without_template_and_padding_is_planned_with_the_fallback(fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.chat_template = tokenizer.pad_token = None
    model.save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    notices = make_plan(fake_config(model=str(tmp_path / "bare")), H100).notices
    assert any("no chat template" in text for text in notices) and any("no padding token" in text for text in notices)


def test_a_plan_shows_the_learning_rate_that_a_method_trains_with(fake_config: Make) -> None:
    settings = {"pool_learning_rate": 0.25}
    plan = make_plan(fake_config(method="l2p", method_settings=settings), H100)
    assert plan.learning_rates == {"preference": 0.25} and "learning rate 0.25" in shown(plan, 100)


def test_an_on_policy_phase_in_place_of_the_supervised_one_has_its_rate_and_passes(fake_config: Make) -> None:
    supervised = SftConfig(sft_learning_rate=0.125, sft_epochs=3)
    training = TrainingConfig(learning_rate=0.5, epochs=2, batch_size=4)
    for sft, rate, passes in ((True, 0.125, 3), (False, 0.5, 2)):
        config = fake_config(method="on_policy_replay", sft=sft, supervised=supervised, training=training)
        plan = make_plan(config, H100)
        assert (plan.learning_rates, plan.epochs) == ({"on_policy": rate}, {"on_policy": passes})
        assert f"learning rate {rate}, {passes} epochs" in shown(plan, 100)
        assert plan.work.stages[0].phases[0].steps == passes * 2  # of eight pairs; nothing is replayed yet
    other = make_plan(fake_config(method="rft", sft=True, supervised=supervised, training=training), H100)
    assert other.learning_rates == {"sft": 0.125, "on_policy": 0.5} and other.epochs == {"sft": 3, "on_policy": 2}


def shown(plan: Plan, width: int) -> str:
    console = Console(width=width, record=True)
    with console.capture() as captured:
        render_plan(console, plan)
    return captured.get()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_plan_fits_the_terminal(fake_config: Make, width: int) -> None:
    text = shown(make_plan(fake_config(sft=True, method="lifealign"), H100), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for word in ("Plan", "Data", "Stages", "On H100 GPUs", "Estimates, not measurements", "sft", "No budget"):
        assert word in " ".join(text.split())


def test_a_plan_is_json(fake_config: Make) -> None:
    plan = make_plan(fake_config(sft=True), H100)
    content = json.loads(json.dumps(plan_summary(plan, {n: f"go {n}" for n in COUNTS}), allow_nan=False))
    assert [gpu["count"] for gpu in content["gpus"]] == [1, 2, 8]
    assert content["gpus"][1]["launch"] == "go 2" and content["gpus"][0]["seconds"] > 0
    assert [p["phase"] for p in content["work"]["stages"][0]["phases"]] == ["sft", "preference"]


def test_lengths_are_estimated_from_characters_within_the_cut_off() -> None:
    def pair(turns: tuple[str, ...], chosen: str, rejected: str) -> Pair:
        prompt = tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(turns))
        return Pair(id="p", task="t", prompt=prompt, chosen=chosen, rejected=rejected)

    short, report = estimated_lengths([pair(("x" * 40,), "y" * 8, "z" * 9)], 100, "shorten")
    assert short == [(20 + 10 + 5, 2 + 1, 3 + 1)]
    long = pair(("x" * 400, "y" * 40, "z" * 40), "c" * 40, "r" * 40)
    assert estimated_lengths([long], 100, "shorten")[0] == [(20 + 15 + 15, 11, 11)]
    assert estimated_lengths([long], 100, "shorten")[1].prompts_shortened == 1
    assert estimated_lengths([long], 100, "drop")[1].dropped == 1
    cut, report = estimated_lengths([pair(("x" * 40,), "y" * 400, "z" * 9)], 100, "shorten")
    assert cut == [(35, 65, 4)] and report.responses_cut == 1


def many_pairs(folder: Path, count: int, words: int) -> Path:
    """A task card with ``count`` training pairs of texts of very different lengths."""
    text = "some words of different length and no end "
    rows = [
        {
            "prompt": f"{i} " + text * (1 + i % words),
            "chosen": f"{i} " + text * (1 + i % 3),
            "rejected": f"no {i} " + text * (1 + i % 5),
        }
        for i in range(count)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:5]))
    card = folder / "many.yaml"
    card.write_text("name: many\ntitle: t\nsource: {type: file, train: train.jsonl, test: test.jsonl}\n")
    return card


def test_of_many_pairs_the_tokens_of_a_sample_are_counted(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = many_pairs(tmp_path, 400, 7)
    config = fake_config(
        tasks=("many",),
        task_cards={"many": card},
        train_limit=None,
        token_budget=4000,
        training=TrainingConfig(max_length=250, learning_rate=1e-3, batch_size=4),
    )
    exact = make_plan(config, H100)
    calls = 0
    original = encode_pairs

    def counted(tokenizer: Any, pairs: Sequence[Pair], *more: Any, **named: Any) -> Any:
        nonlocal calls
        calls += len(pairs)
        return original(tokenizer, pairs, *more, **named)

    monkeypatch.setattr("lifealign_bench.experiments.plan.encode_pairs", counted)
    monkeypatch.setattr("lifealign_bench.experiments.plan.COUNTED", 100)
    monkeypatch.setattr("lifealign_bench.experiments.plan.SAMPLE", 40)
    plan = make_plan(config, H100)
    assert calls == 40 and plan.tokens_estimated and not exact.tokens_estimated
    assert any("counted on 40 of 400 pairs" in notice for notice in plan.notices)
    (there,), (here,) = exact.tasks, plan.tasks
    assert (here.train_pairs, here.test_pairs) == (there.train_pairs, there.test_pairs)
    assert here.tokens_per_pair == pytest.approx(there.tokens_per_pair, rel=0.02)
    assert plan.work.stages[0].tokens == pytest.approx(exact.work.stages[0].tokens, rel=0.02)
    assert here.cut == pytest.approx(there.cut, rel=0.1) and here.dropped.keys() == there.dropped.keys()


def test_a_large_file_is_not_held_several_times(tmp_path: Path) -> None:
    card = load_task(str(many_pairs(tmp_path, 3_000, 60)))
    size = (tmp_path / "train.jsonl").stat().st_size
    tracemalloc.start()
    try:
        load_task_data(card, data_dir=None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * size


def test_launch_lines_ask_for_the_run_and_not_for_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["lifealign-bench"])
    words = ["run", "--preset", "paper", "--dry-run", "--gpu", "RTX 4090", "--json", "--out", "a b"]
    assert launch_line(1, words).endswith("lifealign-bench run --preset paper --out 'a b'")
    assert launch_line(8, [*words, "--gpu=H100"]) == (
        "accelerate launch --multi_gpu --num_processes 8 --mixed_precision no "
        "-m lifealign_bench run --preset paper --out 'a b'"
    )


def test_one_process_is_not_asked_to_share_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["lifealign-bench"])
    assert launch_line(1, ["run", "--shard", "--dry-run"]).endswith("lifealign-bench run")
    assert launch_line(2, ["run", "--shard", "--dry-run"]).endswith("-m lifealign_bench run --shard")


def test_measuring_leaves_the_number_of_threads_as_it_was(fake_config: Make) -> None:
    before = torch.get_num_threads()
    make_plan(fake_config(), H100)
    assert torch.get_num_threads() == before

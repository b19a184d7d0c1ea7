"""Rollouts in a stage: sampled, rewarded, packed behind their prompt, kept, counted and shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from lifealign_bench.config import GenerationConfig, RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, Interrupted, UsageError
from lifealign_bench.method import Group, Method, MethodConfig, Phase, Response, Stage
from lifealign_bench.models.encode import EncodedGroup, EncodedPair
from lifealign_bench.models.logprobs import Layout, completion_log_probs, lay_out, pack, summed
from lifealign_bench.pairs import Pair
from lifealign_bench.results.rollouts import Rollout, RolloutFile, read_rollouts, summary_of
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.workload import Lengths, workload_of
from lifealign_bench.util.files import sha256_file
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]
CPU = torch.device("cpu")


class Sampler(Method):
    """Samples three responses and asks what they are worth."""

    rewarded: ClassVar[bool] = True

    def samples(self) -> int:
        return 3


def built(config: RunConfig, method: Method | None = None, progress: Progress | None = None) -> Session:
    method = method or Sampler(MethodConfig())
    return Session.build(config, load_data(config, Progress()), method, progress or Progress())


def stage_of(session: Session, phase: Phase = "on_policy") -> Stage:
    return session.stage(1, PHASES.get(phase), {})


@pytest.fixture
def session(fake_config: Make) -> Session:
    return built(fake_config(tasks=("fake-upper", "fake-lower")))


class Ear(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.sampling: list[tuple[int, int]] = []
        self.rewards: list[float] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def sampled(self, count: int, of: int) -> None:
        self.sampling.append((count, of))

    def logged(self, stage: int, phase: str, step: int, values: Any) -> None:
        self.rewards += [values["reward"]] if "reward" in values else []


# What is sampled.


def test_what_is_sampled_depends_on_the_generator_and_not_on_the_batch(session: Session) -> None:
    found = []
    for size in (1, 5, 64):
        generation = GenerationConfig(max_new_tokens=6, generation_batch_size=size)
        session.speaker = replace(session.speaker, generation=generation)
        stage = stage_of(session)
        found.append(stage.sample(session.model, stage.pairs[:4], 3, 1.0, 1.0))
    for other in found[1:]:
        assert [[r.tokens for r in group] for group in other] == [[r.tokens for r in group] for group in found[0]]
    again = stage.sample(session.model, stage.pairs[:4], 3, 1.0, 1.0)
    assert again[0][0].tokens != found[0][0][0].tokens, "the next call draws anew"
    # A pair's first responses are the same however many others there are.
    stage = stage_of(session)
    (fewer,) = stage.sample(session.model, stage.pairs[2:3], 2, 1.0, 1.0)
    assert [r.tokens for r in fewer] == [r.tokens for r in found[0][2][:2]]
    twice = stage.sample(session.model, [stage.pairs[0], stage.pairs[0]], 2, 1.0, 1.0)
    assert len({r.tokens for group in twice for r in group}) == 4
    assert not session.model.training


def test_the_prompt_of_a_group_is_computed_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, seen = stage_of(session), []
    inner = session.model.get_base_model()
    handle = inner.model.embed_tokens.register_forward_hook(lambda m, given, out: seen.append(given[0].numel()))
    stage.sample(session.model, stage.pairs[:1], 3, 1.0, 1.0)
    handle.remove()
    prompt = len(session.train["fake-upper"][0].prompt)
    assert seen == [prompt, *[3] * 5]


def test_a_group_is_trained_on_like_separate_sequences(session: Session) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in session.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    first, second = session.train["fake-upper"][:2]
    groups = [
        EncodedGroup(first.pair, first.prompt, ((9, 20, 30), (11,), (40, 41, 42, 43), (9, 20))),
        EncodedGroup(second.pair, second.prompt, ((50, 51),)),
    ]
    assert groups[0].tokens == len(first.prompt) + 10
    weights = torch.tensor([[1.0, -2.0, 0.5, 3.0], [1.5, 0, 0, 0]])
    parameters = [p for p in session.model.parameters() if p.requires_grad]
    alone = []
    for group in groups:
        for branch in group.branches:
            ids = torch.tensor([[*group.prompt, *branch]])
            table = session.model(ids, use_cache=False).logits[0, len(group.prompt) - 1 : -1].log_softmax(-1)
            alone.append(table.gather(1, ids[0, len(group.prompt) :, None]).sum())
    wanted = torch.stack([*alone, *[torch.zeros(())] * 3]).view(2, 4)
    slopes = torch.autograd.grad((weights * wanted).sum(), parameters)
    layouts: tuple[Layout, ...] = ("segments", "mask", "rows", "plain")
    for layout in layouts:
        session.base.model.set_attn_implementation("lifealign_segments" if layout == "segments" else "sdpa")
        rows = lay_out(groups, 0, layout)
        sums = summed(completion_log_probs(session.model, rows), rows)
        assert torch.allclose(sums, wanted, atol=1e-4), layout
        for one, other in zip(torch.autograd.grad((weights * sums).sum(), parameters), slopes, strict=True):
            assert torch.allclose(one, other, atol=1e-4), layout


def test_groups_are_packed_by_all_their_responses() -> None:
    pair = Pair("t/train/0", "t", (), "", "")
    group = EncodedGroup(pair, (1,) * 10, ((2,) * 5,) * 4)
    assert pack([group] * 3, 60, "segments") == [[0, 1], [2]]
    assert pack([group] * 3, 120, "rows") == [[0, 1], [2]]
    assert pack([EncodedPair(pair, (1,) * 10, (2,) * 5, (3,) * 5)] * 2, 40, "segments") == [[0, 1]]


# What it is worth.


def test_rewards_are_those_of_the_tasks_own_functions(session: Session) -> None:
    stage = stage_of(session)
    pairs = [stage.pairs[0], stage.find_pairs(["fake-lower/train/1"])[0]]
    answers = [[Response((5,), text=text) for text in (pair.chosen, pair.rejected)] for pair in pairs]
    (one, two), (three, _) = stage.reward(pairs, answers)
    assert one == three == 1.0 and 0 <= two < 1
    found = stage.demonstrations(pairs)
    assert [r.tokens for r in found] == [
        p.chosen for p in (session.train["fake-upper"][0], session.train["fake-lower"][1])
    ]


def test_more_than_is_declared_is_refused(session: Session) -> None:
    stage = stage_of(session)
    with pytest.raises(BenchError, match="asks for 4 responses to a prompt and declares 3"):
        stage.sample(session.model, stage.pairs[:1], 4, 1.0, 1.0)
    with pytest.raises(BenchError, match="at temperature -1"):
        stage.sample(session.model, stage.pairs[:1], 1, -1.0, 1.0)
    session.method = Method(MethodConfig())
    stage = stage_of(session)
    with pytest.raises(BenchError, match="asks for rewards and does not say so"):
        stage.reward(stage.pairs[:1], [[Response((5,))]])


@pytest.mark.parametrize("bad", ["nan", "raises"])
def test_a_reward_that_is_no_number_is_one_clear_error(
    session: Session, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str, check: Any) -> float:
        if bad == "raises":
            raise KeyError("shape")
        return float("nan")

    monkeypatch.setattr("lifealign_bench.runs.rewards.load_reward", lambda word, home: broken)
    stage = stage_of(session)
    with pytest.raises(
        BenchError, match="is nan for responses to fake-upper" if bad == "nan" else "fails.*KeyError"
    ) as caught:
        stage.reward(stage.pairs[:1], [[Response((5,), text="x")]])
    assert "Mend the" in caught.value.remedy


def without_reward(config: RunConfig, tmp_path: Path) -> RunConfig:
    rows = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no"} for i in range(8)]
    card = {"name": "plain", "title": "no reward", "source": {"type": "inline", "train": rows, "test": rows}}
    (tmp_path / "plain.yaml").write_text(json.dumps(card))
    return config.model_copy(update={"tasks": ("plain",), "task_cards": {"plain": tmp_path / "plain.yaml"}})


def test_a_task_without_a_reward_is_named_before_training(fake_config: Make, tmp_path: Path) -> None:
    config = without_reward(fake_config(method="grpo", scorers=("preference",)), tmp_path)
    with pytest.raises(
        UsageError, match="grpo learns from rewards, and the task plain has no checking function"
    ) as caught:
        run(config)
    assert "--reward trained" in caught.value.remedy
    assert not (config.run_directory() / "stage-0").exists()


def test_a_reward_model_is_asked_where_a_task_has_no_function(fake_config: Make, tmp_path: Path) -> None:
    class Model:
        asked: ClassVar[list[Any]] = []

        def rewards(self, dialogues: Sequence[Any], tasks: Sequence[str]) -> Any:
            self.asked.extend(dialogues)
            assert list(tasks) == ["plain"] * len(dialogues)
            return torch.arange(len(dialogues)).double()

    config = without_reward(fake_config(scorers=("preference",), reward_model="given"), tmp_path)
    session = built(config)
    vars(session.context)["reward_model"] = Model()
    stage = stage_of(session)
    answers = [[Response((5,), text="a"), Response((5,), text="b")]] * 2
    assert stage.reward(stage.pairs[:2], answers) == [(0.0, 1.0), (2.0, 3.0)]
    assert [text for _, text in Model.asked] == ["a", "b", "a", "b"]
    assert Model.asked[0][0] == stage.pairs[0].prompt


def test_no_room_for_responses_is_said_before_training(fake_config: Make) -> None:
    narrow = fake_config(method="grpo", token_budget=50)
    with pytest.raises(UsageError, match="8 responses of up to 6 tokens") as caught:
        built(narrow, make_method(narrow))
    assert "--set token_budget=" in caught.value.remedy
    roomy = fake_config(method="grpo", token_budget=9000, generation=GenerationConfig(max_new_tokens=1020))
    with pytest.raises(UsageError, match="a context of 1024"):
        built(roomy, make_method(roomy))


def test_its_work_is_planned(fake_config: Make) -> None:
    lengths = {"fake-upper": [Lengths(2, 3, 4)] * 8}
    config = fake_config(method="grpo", tasks=("fake-upper",), method_settings={"n": 3})
    stage = workload_of(config, make_method(config), lengths, lengths, []).stages[0]
    # Eight prompts of two tokens, each with three responses of six at most.
    assert [(p.phase, p.steps, p.tokens) for p in stage.phases] == [("on_policy", 2, 8 * (2 + 18))]
    assert stage.sampled == 8 * 18 and stage.reference_tokens == 0


# What is kept, counted and shown.


def rolling(fake_config: Make, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "method": "grpo",
        "method_settings": {"n": 3, "beta": 0.1},
        "tasks": ("fake-upper", "fake-lower"),
        # Two responses a batch: a step's are several.
        "generation": GenerationConfig(max_new_tokens=5, generation_batch_size=2),
        "scorers": ("preference",),
    }
    return fake_config(**settings | changes)


class Stops:
    """Asks to stop after so many questions."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_run_that_is_stopped_or_killed_in_its_rollouts_equals_an_unbroken_one(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (rolling(fake_config, out=tmp_path / name) for name in ("whole", "broken"))
    ear = Ear()
    record = run(whole, ear)
    folders = [config.run_directory() for config in (whole, broken)]
    kept = read_rollouts(folders[0] / "stage-2" / "rollouts.jsonl")
    # Two steps of four prompts with three responses each.
    assert len(kept) == 24 and {one.step for one in kept} == {1, 2} and all(one.reward is not None for one in kept)
    stage = record.stages[2]
    assert stage.rollouts is not None and stage.rollouts["responses"] == 24 and stage.rollouts["groups"] == 8
    assert stage.tokens["rollout"] == sum(len(one.tokens) for one in kept) == stage.rollouts["tokens"]
    assert stage.seconds["rollout"] > 0 and stage.seconds["on_policy"] > 0
    assert (2, 12) in ear.sampling and (12, 12) in ear.sampling and len(ear.rewards) == 4
    lines = [json.loads(line) for line in (folders[0] / "log.jsonl").read_text().splitlines()]
    assert sum("reward" in line for line in lines if line["phase"] == "on_policy") == 4

    add, batches = RolloutFile.add, 0

    def killed(self: RolloutFile, rollouts: Sequence[Rollout]) -> None:
        nonlocal batches
        batches += 1
        if batches in (3, 9, 17):
            if batches == 9 and self.path is not None:
                with self.path.open("a") as stream:
                    stream.write('{"name": "on_pol')  # in the middle of a line
            raise KeyboardInterrupt
        add(self, rollouts)

    monkeypatch.setattr(RolloutFile, "add", killed)
    attempts = 0
    while True:
        attempts += 1
        try:
            again = run(broken, stopped=Stops(7))
            break
        except (KeyboardInterrupt, Interrupted):
            assert attempts < 40
    assert attempts > 3 and batches >= 17
    assert {n: m.value for n, m in again.scores.items()} == {n: m.value for n, m in record.scores.items()}
    for file in ("stage-2/adapter/adapter_model.safetensors", "stage-2/scores.parquet", "stage-2/method.safetensors"):
        assert len({sha256_file(folder / file) for folder in folders}) == 1
    found = read_rollouts(folders[1] / "stage-2" / "rollouts.jsonl")
    assert [replace(one, seconds=0.0) for one in found] == [replace(one, seconds=0.0) for one in kept]
    # What was sampled before a stop is not sampled again.
    assert batches < 2 * 12 + attempts


def test_what_was_kept_of_other_weights_is_sampled_again(session: Session, tmp_path: Path) -> None:
    phase, path = PHASES.get("on_policy"), tmp_path / "rollouts.jsonl"

    def sampled() -> tuple[Response, ...]:
        stage = session.stage(1, phase, {}, rollouts=session.rollouts(1, phase, path))
        return stage.sample(session.model, stage.pairs[:1], 3, 1.0, 1.0)[0]

    first = sampled()
    size = path.stat().st_size
    assert sampled() == first and path.stat().st_size == size
    with torch.no_grad():
        next(p for p in session.model.parameters() if p.requires_grad).add_(0.5)
        for name, parameter in session.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=1.0)
    second = sampled()
    assert [r.log_probs for r in second] != [r.log_probs for r in first]
    # The last of a name counts.
    assert [one.tokens for one in read_rollouts(path)] == [r.tokens for r in second]


def a_rollout(name: str, reward: float | None, tokens: int = 2, ended: bool = True) -> Rollout:
    return Rollout(name, "k", "t/train/0", (1,) * tokens, (-1.0,) * tokens, ended, "x", 0.5, reward)


def test_the_summary_counts() -> None:
    found = summary_of(
        [
            a_rollout("on_policy/1/1/0/0", 1.0),
            a_rollout("on_policy/1/1/0/1", 1.0, ended=False),
            a_rollout("on_policy/1/1/1/0", 0.0),
            a_rollout("on_policy/1/1/1/1", 0.5, tokens=4),
            a_rollout("on_policy/2/1/0/0", None),
        ]
    )
    assert found == {
        "groups": 3,
        "responses": 5,
        "tokens": 12,
        "cut": 1,
        "rewarded": 4,
        "reward": 0.625,
        "constant": 1,
        "seconds": 2.5,
    }
    assert summary_of([])["reward"] is None


def test_constant_groups_and_endless_responses_are_said_once_and_counted(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifealign_bench.runs.rewards.load_reward", lambda word, home: lambda text, check: 0.25)
    ear = Ear()
    config = rolling(fake_config, method_settings={"n": 2})
    record = run(config, ear)
    for words in ("all responses to a prompt have the same reward", "responses came to an end within max_new_tokens"):
        assert [text.partition(",")[0] for text in ear.notices if words in text] == ["Stage 1", "Stage 2"]
    counts = record.stages[1].rollouts
    assert counts is not None and counts["constant"] == counts["groups"] == 8 and counts["cut"] == 16
    # Nothing is learned from them.
    start, end = (config.run_directory() / f"stage-{k}/adapter/adapter_model.safetensors" for k in (0, 1))
    assert sha256_file(start) == sha256_file(end)


# What a method may do wrong.


class OnPolicy(Sampler):
    """Makes what the test says."""

    made: ClassVar[Callable[[Sequence[Pair]], list[Group]]]

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        return ("on_policy",)

    def rollouts(self, stage: Stage, model: Any, pairs: Sequence[Pair]) -> list[Group]:
        return type(self).made(pairs)


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[OnPolicy]]:
    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: OnPolicy(MethodConfig()))
    yield OnPolicy


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda pairs: [], "no group to train on in step 1"),
        (lambda pairs: [Group(pairs[0], (Response(()),), (1.0,))], "of an empty response"),
        (lambda pairs: [Group(pairs[0], (Response((5,)),), ())], "1 responses with 0 weights"),
        (lambda pairs: [Group(pairs[0], (Response((5,) * 99),), (1.0,))], "a forward pass at most 65"),
    ],
)
def test_groups_that_cannot_be_trained_on_are_refused(
    fake_config: Make, method: type[OnPolicy], made: Any, told: str
) -> None:
    method.made = made
    with pytest.raises(BenchError, match=told):
        run(fake_config(tasks=("fake-upper",), scorers=("preference",)))

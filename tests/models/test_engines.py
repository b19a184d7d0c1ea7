"""The three engines say the same; a server is believed when it has proved that it applies the adapter, and not before.

One suite for all engines: what ``generate`` of transformers says, with the adapter and without, is the measure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from lifealign_bench.config import GenerationConfig, RunConfig
from lifealign_bench.errors import BenchError, Interrupted, UsageError
from lifealign_bench.models.engines import make_generation_engine
from lifealign_bench.models.engines.batches import BatchesEngine
from lifealign_bench.models.engines.canary import Answered, base_noise, prove
from lifealign_bench.models.engines.completions import read_completion
from lifealign_bench.models.engines.continuous import ContinuousEngine
from lifealign_bench.models.engines.engine import GenerationEngine, Handover
from lifealign_bench.models.engines.greedy import Reading, spread_over
from lifealign_bench.models.engines.kept import KeptResponses
from lifealign_bench.models.engines.server import ServerEngine
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.generate import StopTexts
from lifealign_bench.models.load import LoadedModel
from lifealign_bench.models.logprobs import Layout
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.training.checkpoint import save_adapter
from lifealign_bench.util.endpoint import Endpoint
from lifealign_bench.util.patience import Refused, RetryPolicy
from lifealign_bench.util.progress import Progress
from tests.lora_server import Answer, LoraServer, hang_up, serve_adapters, toy, with_status

PROMPTS = [(7, 8, 9), (20, 21), (30, 31, 32, 33, 34, 35), (40, 41, 42), (50, 51, 52, 53), (60, 61, 62)]
MOST = 8
CPU = torch.device("cpu")
QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.02, longest_asked=0.05, reach=5)


class Heard(Progress):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture(scope="module")
def adapted() -> PeftModel:
    """The toy model with an adapter that changes what it says."""
    model, _ = fake_model()
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    generator = torch.Generator().manual_seed(5)
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
        elif "lora_A" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return peft.eval()


@pytest.fixture(scope="module")
def folder(adapted: PeftModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its adapter, as a stage leaves it."""
    path = tmp_path_factory.mktemp("stage") / "adapter"
    save_adapter(adapted, path)
    return path


@pytest.fixture(scope="module")
def truth(adapted: PeftModel) -> dict[bool, list[list[int]]]:
    """What transformers' plain ``generate`` says, one prompt at a time: with the adapter, and without."""
    with adapted.disable_adapter():
        base = [plain(adapted, prompt) for prompt in PROMPTS]
    return {True: [plain(adapted, prompt) for prompt in PROMPTS], False: base}


def plain(model: PeftModel, prompt: tuple[int, ...]) -> list[int]:
    ids = torch.tensor([prompt])
    with torch.no_grad():
        whole = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=MOST,
            do_sample=False,
            eos_token_id=[1],
            pad_token_id=0,
        )
    said: list[int] = whole[0, len(prompt) :].tolist()
    return said[: said.index(1)] if 1 in said else said


@pytest.fixture
def server() -> Iterator[LoraServer]:
    with serve_adapters() as told:
        yield told


@pytest.fixture
def ask(adapted: PeftModel, folder: Path, tmp_path: Path) -> Callable[..., list[list[int]]]:
    """Ask an engine for the adapted model's responses, or the base model's."""

    def respond(
        engine: GenerationEngine,
        *,
        base: bool = False,
        stops: list[tuple[str, ...]] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[list[int]]:
        speaker = speaking(adapted, engine)
        speaker.make_ready()
        handover = Handover(None if base else folder, "w", tmp_path / f"{base}.jsonl", stopped)
        if not base:
            return speaker.respond(PROMPTS, stops or [()] * len(PROMPTS), handover)
        with adapted.disable_adapter():
            return speaker.respond(PROMPTS, stops or [()] * len(PROMPTS), handover)

    return respond


def speaking(
    model: PeftModel, engine: GenerationEngine, layout: Layout = "rows", heard: Heard | None = None
) -> Speaker:
    loaded = LoadedModel(model.get_base_model(), toy()[1], "fake", "r", "f", 1)
    return Speaker(
        base=loaded,
        model=model,
        layout=layout,
        token_budget=128,
        device=CPU,
        generation=GenerationConfig(max_new_tokens=MOST, generation_batch_size=3),
        progress=heard or Heard(),
        asked=tuple(PROMPTS),
        engine=engine,
    )


def served(told: LoraServer) -> ServerEngine:
    return ServerEngine(Endpoint(told.address), 3, QUICK)


@pytest.mark.parametrize("name", ["batches", "continuous", "vllm", "sglang"])
def test_every_engine_says_what_plain_generate_says(
    name: str, ask: Callable[..., list[list[int]]], truth: dict[bool, list[list[int]]], adapted: PeftModel
) -> None:
    assert truth[True] != truth[False]
    attention = adapted.config._attn_implementation
    if name in ("vllm", "sglang"):
        with serve_adapters(software=name) as told:
            assert ask(served(told)) == truth[True]
            assert ask(served(told), base=True) == truth[False]
            assert served(told).label == f"server: {name} 0.99.1"
            assert told.unloads == [f"lifealign-{told.unloads[0][-16:]}"] and len(set(told.loads)) == 1
        return
    engine = BatchesEngine() if name == "batches" else ContinuousEngine()
    assert ask(engine) == truth[True]
    assert ask(engine, base=True) == truth[False]
    assert adapted.config._attn_implementation == attention and engine.label == name


@pytest.mark.parametrize("name", ["continuous", "server"])  # of batches it is tested beside generate
def test_every_engine_ends_at_stop_texts(
    name: str, ask: Callable[..., list[list[int]]], truth: dict[bool, list[list[int]]], server: LoraServer
) -> None:
    tokenizer = toy()[1]
    # A text that only the first prompt's response is to end at, though others may hold it too.
    text = tokenizer.decode(truth[True][0][2:4])
    stops: list[tuple[str, ...]] = [(text,), *[()] * (len(PROMPTS) - 1)]
    said = ask(ContinuousEngine() if name == "continuous" else served(server), stops=stops)
    ends = StopTexts(stops, tokenizer.decode)
    first = next(i for i in range(1, MOST + 1) if ends.finished(0, truth[True][0][:i]))
    assert said == [truth[True][0][:first], *truth[True][1:]]


@pytest.mark.parametrize("engine", [ContinuousEngine(), ServerEngine(Endpoint("http://127.0.0.1:9/v1"), 1, QUICK)])
def test_a_method_that_looks_at_whole_inputs_is_refused(engine: GenerationEngine, adapted: PeftModel) -> None:
    with pytest.raises(UsageError, match=r"whole inputs|more than an adapter"):
        speaking(adapted, engine, "whole").make_ready()


@pytest.mark.parametrize("name", ["continuous", "server"])
def test_a_model_that_is_split_over_processes_is_refused(name: str) -> None:
    settings = {"method": "dpo", "stream": "fake", "tasks": ("fake-upper",), "shard": True, "generation_engine": name}
    with pytest.raises(UsageError, match="needs the whole model in one process, and --shard splits it"):
        make_generation_engine(RunConfig.model_validate(settings))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "it ignores adapters": ({"applies": False}, "does not apply the stage's adapter: asked with it, it answers as its"),
    "it turns them round": ({"scale": -1.0}, "answers neither as its base model nor as the adapted one"),
    "another base model": ({"shift": 0.05}, "made from fake does not answer as the base model 'fake' does"),
    "no room": ({"longest": 10}, "takes 10 tokens, and a prompt with its response has up to 14"),
    "no adapters (vLLM)": ({"holds": False}, "loads no LoRA adapters: Not Found"),
    "no adapters (SGLang)": ({"holds": False, "software": "sglang"}, "loads no LoRA adapters: LoRA is not enabled"),
    "a file that it cannot read": ({"reads": False}, "cannot load the adapter in"),
    "a key": ({"key": "abc-0123456789"}, "wants a key"),
}
REMEDIES = {
    "no adapters (vLLM)": "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve ... --enable-lora --max-lora-rank 8",
    "no adapters (SGLang)": "--max-lora-rank 4 --lora-target-modules q_proj v_proj",
    "a file that it cannot read": "the same path has to be there on its machine",
    "no room": "--max-model-len 14",
    "it ignores adapters": "--lora-target-modules",
    "a key": "LIFEALIGN_BENCH_SERVER_KEY",
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_server_cannot_do_is_said_once_with_the_remedy(
    name: str, ask: Callable[..., list[list[int]]], tmp_path: Path
) -> None:
    how, message = BAD[name]
    with serve_adapters(**how) as told:
        with pytest.raises(BenchError) as refused:
            ask(served(told))
        assert message in refused.value.message
        assert REMEDIES.get(name, "") in refused.value.remedy
        # No response was asked for, and none is kept.
        assert all(call.get("logprobs") for call in told.calls)
    assert not list(tmp_path.glob("*.jsonl"))


def mixed_up() -> Callable[[Answer], None]:
    """Every response is that of the question before."""
    before: list[Answer] = []

    def swap(answer: Answer) -> None:
        if "logprobs" in answer:
            return
        before.append(dict(answer))
        if len(before) > 1:
            answer["token_ids"] = before[-2]["token_ids"]
            if "prompt_token_ids" in answer:
                answer["prompt_token_ids"] = before[-2]["prompt_token_ids"]

    return swap


def cut(how: str) -> Callable[[Answer], None]:
    def shorten(answer: Answer) -> None:
        if "logprobs" not in answer:
            answer.update(token_ids=answer["token_ids"][:3], finish_reason=how)

    return shorten


def twice(answer: Answer) -> None:
    answer["index"] = 1


def wordless(answer: Answer) -> None:
    del answer["token_ids"]


def trained_further(answer: Answer) -> None:
    """Other tokens than the model's at the end."""
    if "logprobs" not in answer:
        answer["token_ids"] = [*answer["token_ids"][:-2], 77, 78]


SPOILT: dict[str, tuple[Callable[[], Callable[[Answer], None]], bool, str]] = {
    "other tokens": (lambda: trained_further, True, "6 of 6 responses of the generation server that were read again"),
    "mixed up, and says so": (mixed_up, True, "its answer is to another prompt: it mixes them up"),
    "mixed up": (mixed_up, False, "are not what the model says to their prompts: it mixes answers up"),
    "cut": (lambda: cut("length"), False, "cut a response at 3 of 8 tokens"),
    "cut, and does not say so": (lambda: cut("stop"), False, "it mixes answers up, cuts them"),
    "an answer that is not the first": (lambda: twice, True, "gives 1 answers to one prompt, or not the first"),
    "no token ids": (lambda: wordless, True, "does not know return_token_ids"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_answers_that_are_not_those_of_the_model_are_not_believed(
    name: str, ask: Callable[..., list[list[int]]], tmp_path: Path
) -> None:
    make, echoes, message = SPOILT[name]
    with serve_adapters(echoes=echoes, spoil=make()) as told, pytest.raises(BenchError, match=message):
        ask(served(told))
    kept = [json.loads(line) for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(kept) <= 1  # the first of those that are mixed up is right


def test_a_server_that_is_busy_is_asked_again(
    ask: Callable[..., list[list[int]]], truth: dict[bool, list[list[int]]], server: LoraServer
) -> None:
    busy = with_status(429, {"Retry-After": "60"})
    server.plan = [*[None] * 8, busy, with_status(500), hang_up, None, hang_up]
    assert ask(served(server)) == truth[True]
    assert sorted(prompt for _, prompt in server.responses()) == sorted(PROMPTS)  # each was answered once
    assert len(server.calls) - len(server.answered) == 4


def test_what_a_server_had_said_when_it_died_is_kept(
    ask: Callable[..., list[list[int]]], truth: dict[bool, list[list[int]]], server: LoraServer, tmp_path: Path
) -> None:
    server.dies_after = 2
    with pytest.raises(BenchError) as died:
        ask(served(server))
    assert (
        "answers no more: the connection broke" in died.value.message and "2 responses are kept" in died.value.message
    )
    assert "asks for none of them again" in died.value.remedy
    with (tmp_path / "False.jsonl").open("a") as file:
        file.write('{"key": "')  # killed in the middle of a line
    with serve_adapters() as again:
        assert ask(served(again)) == truth[True]
        assert sorted(prompt for _, prompt in server.responses() + again.responses()) == sorted(PROMPTS)
        calls = len(again.calls)
        # All is there: nothing is loaded or generated again, and only the base model is looked at.
        assert ask(served(again)) == truth[True]
        assert len(again.loads) == 1 and all("logprobs" in call for call in again.calls[calls:])


def test_a_user_who_stops_loses_nothing(
    ask: Callable[..., list[list[int]]], truth: dict[bool, list[list[int]]], server: LoraServer
) -> None:
    with pytest.raises(Interrupted, match=r"Stopped while a server generates; \d responses? (is|are) kept"):
        ask(served(server), stopped=lambda: bool(server.responses()))
    assert 0 < len(server.responses()) < len(PROMPTS)
    assert ask(served(server)) == truth[True]
    assert sorted(prompt for _, prompt in server.responses()) == sorted(PROMPTS)


def test_an_adapter_at_its_start_needs_no_proof(tmp_path: Path) -> None:
    model, _ = fake_model()
    fresh = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"])).eval()
    save_adapter(fresh, tmp_path / "adapter")
    heard = Heard()
    with serve_adapters(applies=False) as told:
        speaker = speaking(fresh, served(told), heard=heard)
        speaker.make_ready()
        said = speaker.respond(PROMPTS, [()] * 6, Handover(tmp_path / "adapter", "w", tmp_path / "kept.jsonl"))
        assert said == [plain(fresh, prompt) for prompt in PROMPTS]
    assert any("changes no answer by more than rounding" in text for text in heard.notices)


def test_a_key_goes_to_the_server_and_into_no_message(
    ask: Callable[..., list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifealign_bench.models.engines.server import find_generation_endpoint

    monkeypatch.setenv("LIFEALIGN_BENCH_SERVER_KEY", "secret-0123456789")
    with serve_adapters(key="another-0123456789") as told:
        engine = ServerEngine(find_generation_endpoint(told.address), 1, QUICK)
        with pytest.raises(BenchError, match="refuses the key") as refused:
            ask(engine)
        assert "secret" not in str(refused.value) and "secret" not in repr(engine)
        assert told.headers[0]["Authorization"] == "Bearer secret-0123456789"


def test_a_server_needs_an_address_and_has_to_be_there(
    ask: Callable[..., list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifealign_bench.models.engines.server import find_generation_endpoint

    monkeypatch.delenv("LIFEALIGN_BENCH_SERVER_URL", raising=False)
    with pytest.raises(UsageError, match="needs the address of a server"):
        find_generation_endpoint(None)
    with pytest.raises(UsageError, match="holds a user's name, a password or a query"):
        find_generation_endpoint("http://me:word@127.0.0.1:1/v1")
    with pytest.raises(BenchError, match=r"cannot be reached at http://127\.0\.0\.1:9/v1"):
        ask(ServerEngine(find_generation_endpoint("http://127.0.0.1:9/v1/completions"), 1, QUICK))


def reading(log_probs: list[float], gaps: list[float] | None = None) -> Reading:
    return Reading(torch.tensor(log_probs), torch.tensor(gaps or [0.0] * len(log_probs)))


def test_a_canary_goes_most_of_the_way_to_the_adapted_model_and_arrives() -> None:
    base, there = reading([-1.0, -2.0, -3.0, -1.0]), reading([-1.0, -1.0, -1.0, -1.0])
    # The way is (0, 1, 2, 0), of length 5 ** 0.5, a root mean square of 1.118: 0.3 of it are 0.335 a token.

    def proof(log_probs: tuple[float, ...], adapted: Reading = there, noise: float = 1e-3) -> str:
        return prove([Answered((1,), (5, 6, 7, 8), log_probs)], [adapted], [base], noise)

    assert proof((-1.0, -1.0, -1.0, -1.0)) == "applied"
    assert proof((-1.3, -1.3, -1.3, -1.3)) == "applied"  # 0.3 from it
    assert proof((-1.4, -1.4, -1.4, -1.4)) == "another"
    assert proof((-1.4, -1.4, -1.4, -1.4), noise=0.1) == "applied"  # of a server that is so noisy
    assert proof((-1.0, -2.0, -3.0, -1.0)) == "ignored"
    # Its part is (0.3 * 1 + 0.3 * 2) / 5 = 0.18; so it is with 2 nats off where the way does not go, but nowhere near.
    assert proof((-1.3, -1.7, -2.7, -1.3)) == "ignored"
    assert proof((-3.0, -1.7, -2.7, -1.0)) == "another"
    assert proof((-1.0, 0.5, 1.0, -1.0), noise=1.0) == "another"  # 2.1 of the way
    assert proof((-1.0, -1.0, -1.0, -1.0), reading([-1.0] * 4, [0, 0.06, 0, 0])) == "another"  # it says other tokens
    assert proof((-1.0, -1.0, -1.0, -1.0), reading([-1.0] * 4, [0, 0.6, 0, 0]), noise=0.01) == "applied"


def test_the_noise_of_a_server_is_the_root_mean_square_or_another_model() -> None:
    answers = [Answered((1,), (5, 6), (-1.0, -2.0)), Answered((2,), (5, 6), (-1.0, -2.0))]
    near = [reading([-1.1, -2.0]), reading([-1.0, -1.9])]
    assert base_noise(answers, near) == pytest.approx((0.02 / 4) ** 0.5, rel=1e-4)
    assert base_noise(answers, [reading([-1.0, -2.0])] * 2) == 1e-3  # never less
    assert base_noise(answers, [reading([-1.0, -2.7]), near[1]]) is None  # 0.35 nats
    assert base_noise(answers, [reading([-1.0, -2.0], [0.0, 0.06]), near[1]]) is not None  # as rounding may
    assert base_noise(answers, [reading([-1.0, -2.0], [0.0, 0.8]), near[1]]) is None  # a token that it would not say
    assert base_noise(answers, [reading([-1.0, -2.0], [0.0, 0.06]), reading([-1.0, -2.0])]) is None  # in float32


@pytest.mark.parametrize(
    "choice",
    [
        {"token_ids": [1, True]},
        {"token_ids": "12"},
        {"token_ids": [-1]},
        {"token_ids": [1], "finish_reason": "abort"},
        {"token_ids": [1], "finish_reason": None},
        {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0]}},
        {"token_ids": [1], "logprobs": {"token_logprobs": [None]}},
        {"token_ids": [1], "logprobs": None},
        {"token_ids": [1], "index": 2},
    ],
)
def test_an_answer_is_read_with_care(choice: dict[str, object]) -> None:
    good = {"index": 0, "finish_reason": "stop", "logprobs": {"token_logprobs": [-1.0]}}
    with pytest.raises(Refused):
        read_completion({"choices": [{**good, **choice}]}, [5], log_probs=True)
    said = read_completion({"choices": [{**good, "token_ids": [3]}]}, [5], log_probs=True)
    assert said.tokens == (3,) and said.log_probs == (-1.0,) and not said.cut


def test_responses_said_otherwise_are_not_taken_for_these(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    first = KeptResponses(file, {"weights": "a"})
    first.keep(first.key((1, 2), ()), [5])
    again, other = KeptResponses(file, {"weights": "a"}), KeptResponses(file, {"weights": "b"})
    assert again.find(again.key((1, 2), ())) == [5]
    assert again.find(again.key((1, 2), ("x",))) is None
    assert other.find(other.key((1, 2), ())) is None


def test_what_is_read_again_is_spread_over_all() -> None:
    assert spread_over(3, 8) == [0, 1, 2]
    assert spread_over(100, 4) == [0, 33, 66, 99]

"""Chat templates: what one does to dialogues is said, what breaks in one is one message, and its clock stands still."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.experiments.reproduction.match import circumstance_differences, of_record
from lifealign_bench.experiments.sharedclock import with_one_clock
from lifealign_bench.experiments.sweep import Sweep
from lifealign_bench.models import chattemplate
from lifealign_bench.models.chattemplate import (
    check_template,
    dialogue_ids,
    lost_roles,
    reads_clock,
    template_notices,
    unsettled,
)
from lifealign_bench.models.encode import encode_pairs, encode_prompt
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.load import load_base_model
from lifealign_bench.models.tokenizer import PLAIN_CHAT_TEMPLATE, complete_tokenizer
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.run import run
from lifealign_bench.util.clock import Clock
from tests.command import Call

Make = Callable[..., RunConfig]

TURNS = "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}<e>{% endfor %}"
ASK = "{% if add_generation_prompt %}<a>{% endif %}"
DATED = "<s>Today is {{ strftime_now('%d %b %Y') }}<e>" + TURNS + ASK
QUESTION = [{"role": "user", "content": "hello"}]
ENDS = frozenset({1})
LONG_AGO = Clock(datetime.fromisoformat("2024-07-26T23:30:00+02:00"))


def tokenizer_with(template: Any) -> PreTrainedTokenizerBase:
    tokenizer = fake_model()[1]
    tokenizer.chat_template = template
    return tokenizer


def model_with(folder: Path, template: Any) -> str:
    model, _ = fake_model()
    model.save_pretrained(folder)
    tokenizer_with(template).save_pretrained(folder)
    return str(folder)


def shown(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], clock: Clock | None = None) -> str:
    return str(tokenizer.decode(dialogue_ids(tokenizer, turns, clock, ask=True)))


@pytest.fixture
def with_system(tmp_path: Path) -> str:
    """The card of a task whose prompts begin with a system turn."""
    for split, count in (("train", 8), ("test", 4)):
        rows = [
            {
                "prompt": [
                    {"role": "system", "content": f"Be short {split} {n}."},
                    {"role": "user", "content": f"What is {n}?"},
                ],
                "chosen": f"number {n}",
                "rejected": f"letter {n}",
            }
            for n in range(count)
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = tmp_path / "system.yaml"
    card.write_text(
        "name: system\ntitle: System turns\ndescription: Made for tests.\nkind: made\nlicense: Apache-2.0\n"
        "source:\n  type: file\n  train: train.jsonl\n  test: test.jsonl\n"
    )
    return str(card)


# What a template does to dialogues.


def test_the_templates_that_ship_with_the_fakes_need_no_notice() -> None:
    tokenizer = fake_model()[1]
    assert template_notices(tokenizer, None, ENDS) == () and unsettled(tokenizer, None) == 0
    assert not lost_roles(tokenizer, None) and not reads_clock(tokenizer)


def test_what_is_known_of_a_template_is_not_said_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    ask = chattemplate.dialogue_ids

    def counted(*words: Any, **more: Any) -> list[int]:
        asked.append(words)
        return ask(*words, **more)

    monkeypatch.setattr(chattemplate, "dialogue_ids", counted)
    tokenizer = tokenizer_with(TURNS + ASK)
    assert (unsettled(tokenizer, None), unsettled(tokenizer, None)) == (0, 0)
    once = len(asked)
    assert 90 < once < 110  # one for every beginning of an answer, and not again
    # Only where it asks: every answer begins otherwise.
    tokenizer.chat_template = TURNS + "{% if add_generation_prompt %}<a>think<a>{% endif %}"
    assert unsettled(tokenizer, None) > 0
    tokenizer.chat_template = TURNS + ASK
    assert unsettled(tokenizer, None) == 0 and len(asked) == 2 * once
    # A clock is asked again at another moment.
    dated = tokenizer_with(DATED)
    for clock in (LONG_AGO, LONG_AGO, Clock.now()):
        unsettled(dated, clock)
    assert len(asked) == 4 * once


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (TURNS, "writes '<a>' before an answer and not where it asks"),
        ("{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}\n{% endfor %}" + ASK, "ends no answer"),
        (TURNS + "{% if add_generation_prompt %}<a>think: {% endif %}", "writes what it does not write before one"),
    ],
    ids=["no generation prompt", "no end of turn", "another generation prompt"],
)
def test_what_a_template_does_to_every_dialogue_is_said_and_recorded(
    template: str, said: str, fake_config: Make, tmp_path: Path
) -> None:
    config = fake_config(model=model_with(tmp_path / "m", template), tasks=("fake-upper",), scorers=("preference",))
    record = run(config)
    assert [text for text in record.model.notices if said in text] and len(record.model.notices) == 1


def test_dropped_turns_are_counted_where_there_are_any(with_system: str, call: Call, tmp_path: Path) -> None:
    quiet = TURNS.replace("in messages", "in messages if m['role'] != 'system'") + ASK
    model = model_with(tmp_path / "m", quiet)
    words = ("--model", model, "--method", "dpo", "--device", "cpu", "--dtype", "float32", "--scorer", "preference")
    code, _, err = call("run", *words, "--stream", with_system)
    assert code == 0 and "Task system, train: 8 prompts have a turn" in err and "leaves out" in err
    (file,) = Path("runs").rglob("record.json")
    assert read_record(file).data["system"].cleaning["test"]["encoding"]["turns_lost"] == 4
    code, _, err = call("run", *words, "--stream", "fake")
    assert code == 0 and "leaves out" not in err
    last = "<u>{{ messages[-1]['content'] }}<e>{% if messages[-1]['role'] == 'assistant' %}{% endif %}" + ASK
    assert lost_roles(tokenizer_with(last), None) >= {"system", "assistant"}


def test_a_prompt_ends_in_one_way_whatever_its_answers_begin_with() -> None:
    """With a template of its own that ends in a space, which byte-level tokenizers join with the next word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<e>", *alphabet, "Ġy", "Ġn"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "y"), ("Ġ", "n")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<e>")
    spaced = PLAIN_CHAT_TEMPLATE.replace("Assistant:{%", "Assistant: {%")
    pairs = [Pair(f"p{i}", "t", (Message("user", "q"),), c, r) for i, (c, r) in enumerate([("yes", "no"), ("5", "6")])]
    for template in (spaced, PLAIN_CHAT_TEMPLATE):
        tokenizer.chat_template = template
        encoded, report = encode_pairs(tokenizer, pairs, 100, "drop")
        assert [tokenizer.decode(p.prompt) for p in encoded] == ["User: q\nAssistant:"] * 2
        assert [tokenizer.decode(p.chosen) for p in encoded] == [" yes<e>\n", " 5<e>\n"]
    # Nothing is cut from the plain template's prompts: a judge, which has no answers, is asked with the same tokens.
    assert encode_prompt(tokenizer, pairs[0].prompt) == list(encoded[0].prompt) and report.unsettled == 0


def test_the_plain_template_begins_as_the_tokenizer_does(fake_config: Make, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    model, tokenizer = fake_model()
    tokenizer.chat_template = None
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.save_pretrained(tmp_path / "without")
    begin = ("<s>", tokenizer.convert_tokens_to_ids("<s>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[begin])
    for name in ("with", "own"):
        tokenizer.save_pretrained(tmp_path / name)
        model.save_pretrained(tmp_path / name)
        tokenizer.chat_template = TURNS + ASK
    model.save_pretrained(tmp_path / "without")
    bases = {n: load_base_model(fake_config(model=str(tmp_path / n))) for n in ("with", "without", "own")}
    texts = {name: shown(base.tokenizer, QUESTION) for name, base in bases.items()}
    assert texts["with"] == "<s>User: hello\nAssistant:" and texts["without"] == "User: hello\nAssistant:"
    # A template of the model's own is taken as it is.
    assert texts["own"] == "<u>hello<e><a>" and "begins a text with <s>" in bases["own"].notices[-1]
    assert bases["with"].fingerprint != bases["without"].fingerprint


# What breaks.


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m['content'] }", "is no template"),
        ("{{ messages | nosuchfilter }}", "nosuchfilter"),
        ({"tool_use": TURNS + ASK, "rag": TURNS}, "several chat templates (rag, tool_use)"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ nothing.at.all }}", "undefined"),
        ("{{ ''.__class__.__mro__ }}" + TURNS, "unsafe"),
        ("{% for i in range(10000000) %}x{% endfor %}", "OverflowError"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("{{ ['a', 'b'] | random }}" + TURNS + ASK, "something else every time"),
        ("{{ lipsum() }}" + TURNS + ASK, "something else every time"),
        ("", "makes no text"),
        (TURNS.replace("in messages", "in messages if m['role'] == 'user'") + ASK, "leaves out what the assistant"),
    ],
)
def test_a_broken_template_is_one_message_before_anything_is_trained(
    template: Any, said: str, call: Call, tmp_path: Path
) -> None:
    model = model_with(tmp_path / "m", template or "{{ '' }}")
    words = ("run", "--model", model, "--stream", "fake", "--method", "dpo", "--device", "cpu", "--dtype", "float32")
    for more in ((), ("--dry-run",)):
        code, _, err = call(*words, *more)
        assert code == 2 and said in err and "Traceback" not in err and "should not happen" not in err, more
        assert "another chat_template" in err or "called default" in err
    assert not list(Path("runs").rglob("trained.json"))


def test_a_template_without_a_system_role_is_refused_with_its_reason(
    with_system: str, call: Call, tmp_path: Path
) -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    model = model_with(tmp_path / "m", strict + TURNS + ASK)
    words = ("run", "--model", model, "--method", "dpo", "--device", "cpu", "--dtype", "float32")
    code, _, err = call(*words, "--stream", with_system, "--scorer", "preference")
    assert code == 2 and "turns system, user: System role not supported" in err and "Traceback" not in err
    code, _, err = call(*words, "--stream", "fake", "--scorer", "preference")
    assert code == 0, err


# The clock.


def test_a_clock_writes_as_strftime_does() -> None:
    here = Clock.now().moment
    for moment in (here, LONG_AGO.moment, datetime.fromisoformat("2000-01-01T00:00:00+00:00")):
        local = moment.replace(tzinfo=None)
        for directive, value in Clock(moment).directives().items():
            # Seconds since 1970 are those of the moment, not of its local time somewhere else.
            wanted = str(int(moment.timestamp())) if directive == "%s" else local.strftime(directive)
            assert value == wanted, directive


def test_the_template_is_told_the_clock_in_english_and_nothing_else_of_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = tokenizer_with(DATED)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert shown(tokenizer, QUESTION, LONG_AGO) == "<s>Today is 26 Jul 2024<e><u>hello<e><a>"
    # Line breaks and indentation around blocks, macros, and formats that are put together.
    odd = (
        "\n  {% if strftime_now is defined %}{% set d = strftime_now('%d' ~ ' %b 100%% %-d %%d') %}{% endif %}"
        "{%- macro m(x) -%}[{{ strftime_now('%Y') }}{{ x }}]{%- endmacro %}\n"
        "{% for t in messages %}{{ m(t.content) }}{{ d }}{% generation %}!{% endgeneration %}{% endfor %}\n"
    )
    tokenizer.chat_template = odd
    monkeypatch.undo()
    assert shown(tokenizer, QUESTION, LONG_AGO) == "\n[2024hello]26 Jul 100% 26 %d!"
    now = str(tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True))
    assert shown(tokenizer, QUESTION, None) == now


def dated(fake_config: Make, tmp_path: Path, **changes: object) -> RunConfig:
    folder = tmp_path / "dated"
    if not folder.is_dir():
        model_with(folder, DATED)
    small = {"model": str(folder), "tasks": ("fake-upper", "fake-lower"), "scorers": ("preference",)}
    return fake_config(**(small | changes))


def on(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifealign_bench.util.clock.Clock.now", classmethod(lambda cls: Clock.read(day)))


def test_a_run_goes_on_with_the_date_that_it_began_with(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on("2026-01-23T23:59:00+01:00", monkeypatch)
    whole = run(dated(fake_config, tmp_path, out=tmp_path / "whole"))
    assert whole.model.clock == "2026-01-23T23:59:00+01:00"
    config, steps = dated(fake_config, tmp_path), [0]

    def stopped() -> bool:
        steps[0] += 1
        return steps[0] > 4

    with pytest.raises(Interrupted):
        run(config, stopped=stopped)
    assert json.loads((config.run_directory() / "clock.json").read_text()) == "2026-01-23T23:59:00+01:00"
    on("2026-02-11T08:00:00+00:00", monkeypatch)
    monkeypatch.setenv("TZ", "Etc/GMT-14")
    record = run(config)
    assert record.model.clock == whole.model.clock and record.data["fake-upper"].encoded is not None
    assert {n: d.encoded for n, d in record.data.items()} == {n: d.encoded for n, d in whole.data.items()}
    assert record.scores == whole.scores
    # Begun on that other day, it is another run, and a comparison says why.
    other = run(dated(fake_config, tmp_path, out=tmp_path / "other"))
    found = circumstance_differences(of_record(whole), of_record(other))
    assert found["date and time in the chat template"] == (whole.model.clock, "2026-02-11T08:00:00+00:00")
    assert "tokens of the pairs" in found
    (config.run_directory() / "record.json").unlink()
    with pytest.raises(BenchError, match="began with the clock at 2026-01-23"):
        run(config.model_copy(update={"clock": "2026-02-11T08:00:00+00:00"}))


def test_runs_that_are_started_together_are_told_one_date(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    config = dated(fake_config, tmp_path)
    days = iter(range(10, 28))
    moment = classmethod(lambda cls: Clock.read(f"2026-01-{next(days)}T12:00:00+00:00"))
    monkeypatch.setattr("lifealign_bench.util.clock.Clock.now", moment)
    words = ["run", "--stream", "fake-upper,fake-lower", "--model", config.model, "--limit", "4", "--scorer"]
    words += ["preference", "--set", "batch_size=4", "--device", "cpu", "--dtype", "float32", "--out", str(tmp_path)]
    assert call(*words, "--method", "dpo", "--seed", "0")[0] == 0
    (first,) = tmp_path.rglob("record.json")
    day = read_record(first).model.clock
    # Two more on later days, beside the one that is there.
    assert call(*words, "--method", "dpo,sft", "--seed", "0", "--json")[0] == 0
    assert len({*tmp_path.rglob("record.json")}) == 2
    assert {read_record(file).model.clock for file in tmp_path.rglob("record.json")} == {day}


def test_a_sweep_has_the_clock_of_its_first_run(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [fake_config(seed=seed) for seed in range(5)]
    on("2026-01-24T00:01:00+01:00", monkeypatch)
    assert {run.config.clock for run in Sweep.of(configs).runs} == {"2026-01-24T00:01:00+01:00"}
    # Two have begun: one without a clock that can be read, one the evening before in another zone.
    for config, clock in ((configs[0], "no clock"), (configs[1], "2026-01-23T23:59:00+01:00")):
        RunFolder(config.run_directory()).path.mkdir(parents=True)
        RunFolder(config.run_directory()).config.write_text("{}")
        RunFolder(config.run_directory()).clock_file.write_text(json.dumps(clock))
    own = configs[4].model_copy(update={"clock": "2020-01-01T00:00:00+00:00"})
    found = [config.clock for config in with_one_clock([*configs[:4], own])]
    assert found == [None, None, *["2026-01-23T23:59:00+01:00"] * 2, "2020-01-01T00:00:00+00:00"]


def test_a_reproduction_takes_the_date_of_its_record(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    on("2026-01-23T12:00:00+01:00", monkeypatch)
    config = dated(fake_config, tmp_path, threads=1)
    run(config)
    on("2026-02-11T08:00:00+00:00", monkeypatch)
    file = config.run_directory() / "record.json"
    code, out, err = call("reproduce", str(file), "--out", str(tmp_path / "again"), "--json")
    content = json.loads(out)
    assert code == 0 and content["pairs_same_to_the_bit"], err
    (again,) = (tmp_path / "again").rglob("record.json")
    assert read_record(again).model.clock == "2026-01-23T12:00:00+01:00"
    # A record of before there was a clock cannot say which date was written.
    old = json.loads(file.read_text())
    del old["model"]["clock"]
    file.write_text(json.dumps(old))
    code, out, err = call("reproduce", str(file), "--out", str(tmp_path / "third"), "--json")
    assert any("date and time in the chat template" in reason for reason in json.loads(out)["why_not"])


def test_other_tokens_are_no_continuation(fake_config: Make, tmp_path: Path) -> None:
    config, steps = dated(fake_config, tmp_path), [0]

    def stopped() -> bool:
        steps[0] += 1
        return steps[0] > 4

    with pytest.raises(Interrupted):
        run(config, stopped=stopped)
    file = config.run_directory() / "config.json"
    began = json.loads(file.read_text())
    assert set(began["fixed"]["encoded"]) == {"fake-upper", "fake-lower"}
    changed = json.loads(file.read_text())
    changed["fixed"]["encoded"]["fake-lower"]["train"] = "0" * 64
    file.write_text(json.dumps(changed))
    with pytest.raises(BenchError, match="texts of fake-lower are other tokens now"):
        run(config)
    # Begun before tokens were written down: the date that it wrote is not known.
    del changed["fixed"]["encoded"]
    file.write_text(json.dumps(changed))
    with pytest.raises(BenchError, match="template writes the date"):
        run(config)
    file.write_text(json.dumps(began))
    assert run(config).status == "complete"


def test_a_run_of_before_goes_on_where_its_tokens_are_the_same(fake_config: Make, tmp_path: Path) -> None:
    whole = run(fake_config(out=tmp_path / "whole", scorers=("preference",)))
    config, steps = fake_config(scorers=("preference",)), [0]

    def stopped() -> bool:
        steps[0] += 1
        return steps[0] > 5

    with pytest.raises(Interrupted):
        run(config, stopped=stopped)
    file = config.run_directory() / "config.json"
    content = json.loads(file.read_text())
    del content["fixed"]["encoded"]
    file.write_text(json.dumps(content))
    (config.run_directory() / "clock.json").unlink()
    assert run(config).scores == whole.scores
    assert "encoded" in json.loads(file.read_text())["fixed"]


def test_a_run_of_before_with_the_old_plain_layout_is_refused(fake_config: Make, tmp_path: Path) -> None:
    config = fake_config(model=model_with(tmp_path / "bare", None), tasks=("fake-upper",), scorers=("preference",))
    with pytest.raises(Interrupted):
        run(config, stopped=lambda: True)
    file = config.run_directory() / "config.json"
    content = json.loads(file.read_text())
    del content["fixed"]["encoded"]
    file.write_text(json.dumps(content))
    with pytest.raises(BenchError, match="without a chat template are laid out in another way since"):
        run(config)


def test_a_model_that_cannot_end_is_still_refused_first() -> None:
    tokenizer = tokenizer_with("{% broken")
    tokenizer.eos_token = None
    with pytest.raises(BenchError, match="no end-of-sequence token"):
        complete_tokenizer(tokenizer, "m")
    with pytest.raises(BenchError, match="is no template"):
        check_template(tokenizer)

"""General ability: what the words mean, what can be had, what is measured, and the tax by hand."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, Interrupted, UsageError
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.reporting.tables.files import run_summary
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.reporting.tables.run import record_grids
from lifealign_bench.reporting.tables.scores import ability_grid, ability_summary, tax_note
from lifealign_bench.results.record import AbilityRecord, AbilityStage, Record, read_record
from lifealign_bench.results.scores import alignment_tax
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method, resolved
from lifealign_bench.scoring.abilities import ability as inside
from lifealign_bench.scoring.abilities import load as check
from lifealign_bench.scoring.abilities.ability import Abilities, Ability, make_ability
from lifealign_bench.scoring.abilities.load import find_abilities, read_definition
from lifealign_bench.scoring.abilities.measure import ability_records, measure_ability
from lifealign_bench.scoring.abilities.names import BUILTIN, SETS, builtin_file, check_ability_words, expand
from lifealign_bench.util.distributed import join
from lifealign_bench.util.progress import Progress
from tests.command import Call
from tests.places import ROOT

Make = Callable[..., RunConfig]
CHOICES = 4
ABC = ("a", "b", "c")


def items(name: str) -> list[dict[str, Any]]:
    definition = read_definition(builtin_file(name), trusted=False)
    text = Path(definition["dataset_kwargs"]["data_files"]["test"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def fake_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The fake model with an adapter that does something."""
    join(True)
    config = RunConfig(
        method="dpo",
        stream="fake",
        tasks=("fake-upper",),
        model="fake",
        device="cpu",
        dtype="float32",
        train_limit=4,
        test_limit=4,
        out=tmp_path_factory.mktemp("runs"),
    )
    method = make_method(config)
    session = Session.build(config, load_data(config, Progress()), method, Progress())
    generator = torch.Generator().manual_seed(3)
    for name, parameter in session.model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    yield session


def found(*words: str, began: dict[str, Any] | None = None, trust: bool = False) -> tuple[Abilities, list[str]]:
    config = RunConfig(
        method="dpo", stream="fake", tasks=("fake-upper",), abilities=words, trust_remote_code=trust, device="cpu"
    )
    told: list[str] = []
    return find_abilities(config, began, told.append), told


def own_task(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A YAML task in ``folder`` with its data beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (content | changes).items() if v is not None}))
    return path


# --- the built-in items


@pytest.mark.parametrize(("name", "least"), [("builtin_facts", 60), ("builtin_arithmetic", 50), ("builtin_format", 50)])
def test_builtin_items_are_enough_plain_and_balanced(name: str, least: int) -> None:
    rows = items(name)
    assert len(rows) >= least and re.search(rf"\b{len(rows)} questions", BUILTIN[name])
    assert all(sorted(row) == ["answer", "choices", "question"] for row in rows)
    assert all(len(set(row["choices"])) == CHOICES == len(row["choices"]) for row in rows)
    texts = [text for row in rows for text in (row["question"], *row["choices"])]
    assert all(text.isascii() and text == text.strip() and text for text in texts)
    assert len({row["question"].casefold() for row in rows}) == len(rows)
    places = Counter(row["answer"] for row in rows)
    assert max(places.values()) - min(places.values()) <= 1 and set(places) == set(range(CHOICES))


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("extreme", [max, min])
def test_neither_the_longest_nor_the_shortest_answer_is_right_more_often_than_others(
    name: str, extreme: Callable[[list[int]], int]
) -> None:
    rows = items(name)
    hits = 0.0
    for row in rows:
        lengths = [len(text) for text in row["choices"]]
        picked = [i for i, length in enumerate(lengths) if length == extreme(lengths)]
        hits += (row["answer"] in picked) / len(picked)
    assert 0.12 < hits / len(rows) < 0.38


def test_arithmetic_is_right_and_its_wrong_answers_are_wrong() -> None:
    for row in items("builtin_arithmetic"):
        a, how, b = re.fullmatch(r"What is (\d+) (plus|minus|times|divided by) (\d+)\?", row["question"]).groups()  # type: ignore[union-attr]
        x, y = int(a), int(b)
        value = {"plus": x + y, "minus": x - y, "times": x * y, "divided by": x / y}[how]
        assert [float(c) == value for c in row["choices"]] == [i == row["answer"] for i in range(CHOICES)]


def test_the_items_on_disk_are_those_of_the_script() -> None:
    spec = importlib.util.spec_from_file_location("make_abilities", ROOT / "benchmarks" / "make_abilities.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for file, content in module.files().items():
        assert (builtin_file("builtin_facts").parent / file).read_text(encoding="utf-8") == content, file


def test_no_item_is_in_the_training_or_test_text_of_the_mini_stream() -> None:
    def words(text: str) -> list[str]:
        return re.findall(r"[a-z0-9]+", text.lower())

    prompts: set[str] = set()
    runs: set[tuple[str, ...]] = set()
    for file in (ROOT / "tasks" / "mini").glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            said = words(json.loads(line)["prompt"])
            prompts.add(" ".join(said))
            runs |= {tuple(said[i : i + 7]) for i in range(len(said) - 6)}
    assert prompts and runs
    for name in BUILTIN:
        for row in items(name):
            asked = words(row["question"])
            assert " ".join(asked) not in prompts
            assert not any(tuple(asked[i : i + 7]) in runs for i in range(len(asked) - 6)), row["question"]


def test_the_items_lie_in_the_package_so_that_a_wheel_has_them() -> None:
    import lifealign_bench

    package = Path(lifealign_bench.__file__).parent
    for name in BUILTIN:
        assert builtin_file(name).is_file() and package in builtin_file(name).parents
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'only-include = ["lifealign_bench"' in text


# --- words


def test_words_are_sets_members_once_and_in_order() -> None:
    assert expand(["builtin_facts", "builtin", "arc_easy"]) == ["builtin_facts", *SETS["builtin"][1:], "arc_easy"]
    assert "hellaswag" in expand(["tax"]) and len(expand(["tax"])) == 9


def test_what_is_wrong_at_once_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no YAML task nothing\.yaml"):
        check_ability_words(["nothing.yaml"])
    with pytest.raises(UsageError, match="builtin_fact'") as raised:
        check_ability_words(["builtin_fact"])
    assert "builtin_facts" in raised.value.remedy


def test_the_command_line_refuses_and_lists(call: Call) -> None:
    code, _, shown = call("run", "--model", "fake", "--stream", "fake", "--ability", "builtin_fact")
    assert code == 2 and "Did you mean 'builtin_facts'" in shown
    code, shown, _ = call("list", "ability")
    assert code == 0 and "hellaswag" in shown and "builtin_format" in shown


def test_an_unknown_task_names_the_close_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listed:
        all_tasks = ("arc_easy", "hellaswag")
        task_index = ()

    monkeypatch.setattr(check._Loader, "_list", lambda self: Listed())
    with pytest.raises(UsageError, match="no ability called 'arc_eezy'") as raised:
        found("arc_eezy")
    assert "Did you mean 'arc_easy'" in raised.value.remedy


# --- what can be had


def test_without_the_hub_a_task_of_lm_eval_is_left_out_and_the_others_stay() -> None:
    abilities, told = found("arc_easy", "builtin_facts")
    assert [a.name for a in abilities.tests] == ["builtin_facts"]
    assert abilities.left_out == {"arc_easy": "the hub is switched off (HF_HUB_OFFLINE)"}
    assert told == ["Ability arc_easy is left out: the hub is switched off (HF_HUB_OFFLINE)."]


def test_where_none_can_be_had_nothing_is_trained(fake_config: Make, tmp_path: Path) -> None:
    path = own_task(tmp_path / "t", [], dataset_path="nobody/nothing", dataset_kwargs=None)
    config = fake_config(abilities=(str(path),))
    with pytest.raises(BenchError, match="None of the abilities") as raised:
        run(config)
    assert "HF_HUB_OFFLINE" in raised.value.message and "builtin" in raised.value.remedy
    assert not (config.run_directory() / "stage-0").exists()


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def nobody() -> str:
        asked.append(1)
        return "the hub does not answer (ConnectError)"

    monkeypatch.setattr(check, "why_no_hub", nobody)
    paths = [
        str(own_task(tmp_path / n, [], task=n, dataset_path=f"nobody/{n}", dataset_kwargs=None)) for n in ("a", "b")
    ]
    abilities, _ = found(*paths, "builtin_facts")
    assert abilities.left_out == dict.fromkeys(["a", "b"], "the hub does not answer (ConnectError)")
    assert asked == [1]


def test_asking_an_address_where_nobody_is_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        reason = inside.why_no_hub()
    assert reason is not None and reason.startswith("the hub does not answer (") and "127" not in reason


def test_own_data_beside_the_yaml_and_includes(tmp_path: Path) -> None:
    path = own_task(tmp_path / "t", items("builtin_facts")[:5], metric_list=None)
    (tmp_path / "t" / "more.yaml").write_text("include: mine.yaml\ntask: more\noutput_type: multiple_choice\n")
    abilities, told = found(str(path), str(tmp_path / "t" / "more.yaml"))
    assert [(a.name, a.metric, len(a.ids), a.chance) for a in abilities.tests] == [
        ("mine", "acc_norm", 5, 0.25),  # lm-eval's metrics of a choice are acc and acc_norm
        ("more", "acc_norm", 5, 0.25),
    ]
    assert not told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "../up"}, "is no name for a task"),
        ({"task": None}, "it has no 'task: <name>'"),
        ({"metric_list": [{"metric": "wer", "hf_evaluate": True}]}, "hf_evaluate"),
        ({"unsafe_code": True}, "unsafe_code"),
        ({"dataset_kwargs": {"data_files": "none.jsonl"}}, "data file that is not there"),
        ({"include": "mine.yaml"}, "includes itself"),
        ({"include": "nothing.yaml"}, "cannot be read"),
    ],
)
def test_a_yaml_task_that_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        found(str(own_task(tmp_path / "t", items("builtin_facts")[:2], **changes)))


def test_two_abilities_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [str(own_task(tmp_path / folder, items("builtin_facts")[:2])) for folder in ("a", "b")]
    with pytest.raises(BenchError, match="Two abilities are called 'mine'"):
        found(*paths)


@pytest.mark.parametrize("text", ["- a\n- b\n", "task: [", "\x00", "task: !!python/object/apply:os.getcwd []\n"])
def test_what_is_no_task_at_all_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(BenchError, match="cannot be used"):
        found(str(tmp_path / "bad.yaml"))


def test_replaced_data_of_a_yaml_task_is_read_anew(tmp_path: Path) -> None:
    """Also where its size and time of change are the same, as after rsync -a."""
    digests = []
    for question in ("Is it old?", "Is it new?"):
        path = own_task(tmp_path / "t", [{"question": question, "choices": ["yes", "no"], "answer": 0}])
        os.utime(path.parent / "rows.jsonl", (1_000_000, 1_000_000))
        (ability,) = found(str(path))[0].tests
        assert ability.tasks[0].task_docs[0]["question"] == question
        digests.append(ability.digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize("where", ["itself", "an include"])
def test_python_code_needs_trust(tmp_path: Path, where: str) -> None:
    path = own_task(tmp_path / "t", items("builtin_facts")[:3])
    (path.parent / "code.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "def text(doc):\n    return 'Q: ' + doc['question']\n"
    )
    line = "doc_to_text: !function code.text\n"
    if where == "itself":
        path.write_text(path.read_text().replace("doc_to_text: '{{question}}'\n", line))
    else:
        (path.parent / "base.yaml").write_text(line)
        path.write_text(path.read_text().replace("doc_to_text: '{{question}}'\n", "include: base.yaml\n"))
    with pytest.raises(BenchError, match="!function") as raised:
        found(str(path))
    assert "--trust-remote-code" in raised.value.remedy and not (tmp_path / "ran").exists()
    abilities, _ = found(str(path), trust=True)
    assert (tmp_path / "ran").exists()
    task = abilities.tests[0].tasks[0]
    assert task.instances[0].args[0].startswith("Q: ")


GENERATED: dict[str, Any] = {"output_type": "generate_until", "doc_to_choice": None, "doc_to_target": "{{answer}}"}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"metric_list": [{"metric": "EVIL"}]}, "the metric"),
        ({"metric_list": [{"metric": "EVIL", "aggregation": "mean", "hf_evaluate": "yes"}]}, "hf_evaluate"),
        ({"metric_list": [{"metric": ["acc"]}]}, "the metric"),
        ({"metric_list": {"metric": "EVIL"}}, "the metric"),
        ({"metric_list": [{"metric": "acc", "aggregation": "EVIL"}]}, "the aggregation"),
        ({**GENERATED, "filter_list": [{"name": "x", "filter": [{"function": "EVIL"}]}]}, "the filter"),
        ({**GENERATED, "filter_list": [{"name": "x", "filter": [{"function": "custom"}]}]}, "the filter 'custom'"),
        ({"output_type": "EVIL"}, "the output_type"),
        ({"process_docs": "EVIL"}, "the key 'process_docs'"),
        ({"process_results": "EVIL"}, "the key 'process_results'"),
        ({"custom_dataset": "EVIL"}, "the key 'custom_dataset'"),
        ({"class": "EVIL"}, "the key 'class'"),
        ({"use_prompt": "EVIL.yaml:x"}, "the key 'use_prompt'"),
        ({"doc_to_image": "EVIL"}, "the key 'doc_to_image'"),
        ({"fewshot_config": {"sampler": "EVIL"}}, "the sampler"),
        ({"fewshot_config": {"process_docs": "EVIL"}}, "the key 'process_docs' of fewshot_config"),
        ({"dataset_path": "EVIL"}, "the dataset_path"),
        ({"dataset_path": "EVIL.py"}, "the dataset_path"),
        ({"dataset_path": "./t"}, "the dataset_path"),
        ({"dataset_path": "pandas"}, "the dataset_path 'pandas'"),
        ({"dataset_path": "webdataset"}, "the dataset_path 'webdataset'"),
        ({"dataset_kwargs": {"data_files": "rows.jsonl", "trust_remote_code": True}}, "'trust_remote_code'"),
        ({"dataset_kwargs": {"data_files": "reference://x::file://y"}}, "the address"),
        ({"dataset_kwargs": {"data_files": {"test": ["rows.jsonl", "ssh://host/x"]}}}, "the address"),
    ],
)
def test_a_task_may_name_only_what_lm_eval_knows_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], what: str
) -> None:
    """The file EVIL leaves a trace where any of the many ways of looking names up runs it."""
    trace = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    text = json.dumps(changes).replace("EVIL", str(evil))
    with pytest.raises(BenchError, match=re.escape(what)) as raised:
        found(str(own_task(tmp_path / "t", items("builtin_facts")[:2], **json.loads(text))))
    assert "--trust-remote-code" in raised.value.remedy and not trace.exists()


@pytest.mark.parametrize("name", ["path of a file", "file of that name beside the caller"])
def test_no_metric_of_a_file_is_run_by_any_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Also by a task that no list of allowed words was applied to, as those are that come with lm-eval."""
    trace = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    metric = str(evil / "evil.py") if name == "path of a file" else "evil"
    monkeypatch.setattr("lifealign_bench.scoring.abilities.load.why_not_allowed", lambda content: None)
    path = own_task(tmp_path / "t", items("builtin_facts")[:2], metric_list=[{"metric": metric}])
    abilities, told = found(str(path), "builtin_facts")
    assert "code of others" in abilities.left_out["mine"] and len(told) == 1 and not trace.exists()
    with pytest.raises(BenchError, match="None of the abilities"):
        found(str(path), trust=True)  # it is no metric; but it was run, so the trace works
    assert trace.exists()


def test_a_task_of_lm_eval_loads_no_metric_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.tasks

    path = own_task(tmp_path / "lib", items("builtin_facts")[:2])
    (path.parent / "code.py").write_text(
        "import evaluate\nevaluate.load('anything')\ndef text(doc):\n    return doc['question']\n"
    )
    path.write_text(path.read_text().replace("doc_to_text: '{{question}}'\n", "doc_to_text: !function code.text\n"))
    monkeypatch.setattr(lm_eval.tasks, "__file__", str(tmp_path / "lib" / "__init__.py"))
    abilities, _ = found("mine", "builtin_facts")
    assert "code of others" in abilities.left_out["mine"]


def test_a_task_includes_nothing_from_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("num_fewshot: 0\n")
    path = own_task(tmp_path / "t", items("builtin_facts")[:2], include="../outside.yaml")
    with pytest.raises(BenchError, match="outside its folder") as raised:
        found(str(path))
    assert "--trust-remote-code" in raised.value.remedy
    assert [a.name for a in found(str(path), trust=True)[0].tests] == ["mine"]


@pytest.mark.parametrize("text", ["task: " + "[" * 100_000, "task: &t [*t]\n"])
def test_a_task_without_bounds_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(BenchError, match="cannot be used"):
        found(str(tmp_path / "bad.yaml"))


def test_templates_do_not_reach_into_python(tmp_path: Path) -> None:
    path = own_task(tmp_path / "t", items("builtin_facts")[:2], doc_to_text="{{ question.__class__.__mro__ }}")
    abilities, told = found(str(path), "builtin_facts")
    assert abilities.left_out == {"mine": "it cannot be loaded (SecurityError)"} and len(told) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"output_type": "loglikelihood_rolling", "metric_list": [{"metric": "word_perplexity"}]}, "no share of items"),
        ({"metric_list": [{"metric": "mcc", "aggregation": "matthews_corrcoef"}]}, "no metric that is a share"),
        (
            {
                "output_type": "generate_until",
                "doc_to_choice": None,
                "generation_kwargs": {"do_sample": True, "until": ["."]},
                "metric_list": [{"metric": "exact_match", "aggregation": "mean"}],
            },
            "it samples",
        ),
    ],
)
def test_what_is_not_measured_here_is_left_out(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = own_task(tmp_path / "t", items("builtin_facts")[:2], doc_to_target="{{choices[answer]}}", **changes)
    abilities, _ = found(str(path), "builtin_facts")
    assert reason in abilities.left_out["mine"]


def test_a_run_goes_on_with_what_it_began_with(tmp_path: Path) -> None:
    rows = items("builtin_facts")
    path = own_task(tmp_path / "t", rows[:3])
    first, _ = found(str(path), "builtin_format")
    began = check.as_begun(first)
    again, told = found(str(path), "builtin_format", began=began)
    assert check.as_begun(again) == began and not told
    # What was left out stays out, though it could be had by now.
    without = {"digests": {"mine": first.tests[0].digest}, "left_out": {"builtin_format": "it was raining"}}
    fewer, told = found(str(path), "builtin_format", began=without)
    assert [a.name for a in fewer.tests] == ["mine"] and fewer.left_out == without["left_out"]
    assert told == ["Ability builtin_format was left out when this run began (it was raining): it stays out."]
    own_task(tmp_path / "t", rows[:4])
    with pytest.raises(BenchError, match="mine ask for something else"):
        found(str(path), "builtin_format", began=began)
    own_task(tmp_path / "t", rows[:3], dataset_path="nobody/nothing", dataset_kwargs=None)
    with pytest.raises(BenchError, match="cannot be had now"):
        found(str(path), "builtin_format", began=began)


# --- what is measured


def by_definition(session: Session, context: str, continuation: str) -> tuple[float, bool]:
    """Log-probability of a continuation and whether it is greedy: one text a pass, the model's own logits."""
    tokenizer = session.base.tokenizer
    before = tokenizer(context)["input_ids"]
    whole = tokenizer(context + continuation)["input_ids"]
    with torch.no_grad():
        logits = session.model(input_ids=torch.tensor([whole])).logits[0, len(before) - 1 : -1].float()
    wanted = torch.tensor(whole[len(before) :])
    log_probs = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
    return float(log_probs), bool((logits.argmax(-1) == wanted).all())


@pytest.mark.parametrize("name", BUILTIN)
def test_accuracy_is_the_argmax_of_log_probabilities_computed_otherwise(fake_session: Session, name: str) -> None:
    ability = found(name)[0].tests[0]
    values, tokens = measure_ability(fake_session.speaker, ability)
    rows = items(name)
    assert values.shape == (len(rows),) and tokens > 0 and set(values) <= {0.0, 1.0}
    for row, value in list(zip(rows, values, strict=True))[:12]:
        context = f"Question: {row['question']}\nAnswer:"
        sums = [by_definition(fake_session, context, f" {choice}")[0] for choice in row["choices"]]
        assert (int(np.argmax(sums)) == row["answer"]) == bool(value), row["question"]


def test_lm_evals_own_model_says_the_same(fake_session: Session) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    ability = found("builtin_format")[0].tests[0]
    values, _ = measure_ability(fake_session.speaker, ability)
    task = ability.tasks[0]
    with inside.quiet_and_safe(trusted=False):
        lm = HFLM(pretrained=fake_session.model, tokenizer=fake_session.base.tokenizer, batch_size=16)
        theirs: Any = evaluate(lm=lm, task_dict={"tasks": {task.task_name: task}}, bootstrap_iters=0)
    samples = sorted(theirs["samples"][task.task_name], key=lambda s: s["doc_id"])
    assert [s["acc"] for s in samples] == values.tolist()


def test_the_order_of_the_answers_does_not_matter(fake_session: Session, tmp_path: Path) -> None:
    rows = items("builtin_facts")[:30]
    turned = []
    for i, row in enumerate(rows):
        order = random.Random(i).sample(range(CHOICES), CHOICES)
        turned.append(row | {"choices": [row["choices"][k] for k in order], "answer": order.index(row["answer"])})
    assert turned != rows
    values = []
    for name, content in (("a", rows), ("b", turned)):
        ability = found(str(own_task(tmp_path / name, content)))[0].tests[0]
        values.append(measure_ability(fake_session.speaker, ability)[0].tolist())
    assert values[0] == values[1] and 0 < sum(values[0]) < len(rows)


def test_a_continuation_counts_only_where_the_model_would_say_it(fake_session: Session, tmp_path: Path) -> None:
    """lm-eval's accuracy of a `loglikelihood` task, against the definition."""
    # The untrained weights say readable characters more often than those with the adapter.
    with fake_session.model.disable_adapter():
        tokenizer = fake_session.base.tokenizer
        rows = [{"question": "name bee", "answer": "zzz"}]
        for n in range(20):
            text = f"call ant {n}{chr(33 + n)}"
            ids = tokenizer(text)["input_ids"]
            with torch.no_grad():
                greedy = int(fake_session.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            said = str(tokenizer.decode([greedy]))
            if tokenizer(text + said)["input_ids"] == [*ids, greedy]:  # half a character, or a mark, is no text
                rows.append({"question": text, "answer": said})
        path = own_task(
            tmp_path / "t",
            rows,
            output_type="loglikelihood",
            doc_to_choice=None,
            doc_to_target="{{answer}}",
            target_delimiter="",
        )
        ability = found(str(path))[0].tests[0]
        values, _ = measure_ability(fake_session.speaker, ability)
        truth = [by_definition(fake_session, r["question"], r["answer"])[1] for r in rows]
        assert values.tolist() == [float(t) for t in truth] and ability.chance is None
        assert truth[0] is False and len(truth) > 1 and all(truth[1:])


def test_generated_answers_are_greedy_and_end_at_the_stop_text(fake_session: Session, tmp_path: Path) -> None:
    tokenizer = fake_session.base.tokenizer
    rows = []
    for text in ("call ant", "name bee"):
        ids = tokenizer(text)["input_ids"]
        start = len(ids)
        for _ in range(5):
            with torch.no_grad():
                following = int(fake_session.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if following == tokenizer.eos_token_id:
                break
            ids.append(following)
        rows.append({"question": text, "answer": str(tokenizer.decode(ids[start:], skip_special_tokens=True))})
    rows[1]["answer"] += "other"
    path = own_task(
        tmp_path / "t",
        rows,
        output_type="generate_until",
        doc_to_choice=None,
        doc_to_target="{{answer}}",
        generation_kwargs={"until": ["\n\n\n"], "max_gen_toks": 5},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )
    values, _ = measure_ability(fake_session.speaker, found(str(path))[0].tests[0])
    assert values.tolist() == [1.0, 0.0]


def test_worked_examples_are_the_same_ones_at_every_stage(
    fake_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.evaluator import evaluate

    path = own_task(tmp_path / "t", items("builtin_facts")[:12], num_fewshot=2, fewshot_split="test")
    ability = found(str(path))[0].tests[0]
    asked: list[list[Any]] = []

    def keep(*args: Any, **more: Any) -> Any:
        result = evaluate(*args, **more)
        asked.append([s["arguments"] for s in result["samples"]["mine"]])
        return result

    monkeypatch.setattr("lm_eval.evaluator.evaluate", keep)
    measure_ability(fake_session.speaker, ability)
    measure_ability(fake_session.speaker, ability)
    assert asked[0] == asked[1] and asked[0][0][0][0].count("\n\n") >= 2
    assert make_ability("mine", ability.tasks).digest == ability.digest


def test_measuring_leaves_everything_as_it_was(fake_session: Session) -> None:
    model = fake_session.model
    model.train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    flags = [m.training for m in model.modules()]
    attention = model.config._attn_implementation
    active = list(model.active_adapters)
    randomness = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]
    keys = set(vars(model)) | set(vars(model.get_base_model()))
    measure_ability(fake_session.speaker, found("builtin_facts")[0].tests[0])
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert model.config._attn_implementation == attention and list(model.active_adapters) == active
    assert random.getstate() == randomness[0]
    assert np.random.get_state()[1].tolist() == randomness[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), randomness[2])
    assert set(vars(model)) | set(vars(model.get_base_model())) == keys
    model.eval()


def test_weights_that_are_no_numbers_are_an_error(fake_session: Session) -> None:
    ability = found("builtin_facts")[0].tests[0]
    weight = next(p for n, p in fake_session.model.named_parameters() if "lora_B" in n)
    kept = weight.detach().clone()
    weight.data.fill_(math.nan)
    try:
        with pytest.raises(BenchError, match="nan or infinity"):
            measure_ability(fake_session.speaker, ability)
    finally:
        weight.data = kept


# --- by hand


def ability_of(name: str, count: int) -> Ability:
    return Ability(name, (), "acc", tuple(map(str, range(count))), 0.25, "digest", 0)


def frame(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(name, str(i), v) for name, numbers in values.items() for i, v in enumerate(numbers)]
    return pd.DataFrame(rows, columns=["ability", "item", "value"])


def test_change_and_tax_by_hand() -> None:
    tests = [ability_of("a", 4), ability_of("b", 2)]
    frames = {0: frame({"a": [1, 1, 0, 0], "b": [1, 0]}), 2: frame({"a": [1, 0, 0, 0], "b": [1, 1]})}
    records = ability_records(tests, frames)
    last = records["a"].stages["2"]
    assert (last.value, last.change) == (25.0, -25.0)
    # The changes are 0, -1, 0, 0: mean -1/4, variance (3 * 1/16 + 9/16) / 3 = 1/4, error sqrt(1/4 / 4) = 1/4.
    assert last.change_error == pytest.approx(25.0)
    assert records["b"].stages["2"].change == 50.0 and records["b"].stages["2"].change_error == pytest.approx(50.0)
    assert records["a"].stages["0"].change is None
    tax = alignment_tax(records, 2)
    error = math.sqrt(25**2 + 50**2) / 2
    assert tax.value == pytest.approx(12.5) and tax.standard_error == pytest.approx(error)
    assert tax.low == pytest.approx(12.5 - 1.959964 * error) and tax.high == pytest.approx(12.5 + 1.959964 * error)
    assert math.isnan(alignment_tax(records, 1).value) and math.isnan(alignment_tax({}, 2).value)


def test_the_paired_error_is_that_of_the_formula() -> None:
    """Var(mean of differences) = (s_a^2 + s_b^2 - 2 cov) / n, which is less than that of two separate samples."""
    generator = np.random.default_rng(0)
    base = (generator.random(200) < 0.6).astype(float)
    later = np.where(generator.random(200) < 0.1, 1 - base, base)
    records = ability_records([ability_of("a", 200)], {0: frame({"a": base.tolist()}), 1: frame({"a": later.tolist()})})
    stage = records["a"].stages["1"]
    cov = np.cov(base, later)
    paired = 100 * math.sqrt((cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) / 200)
    apart = 100 * math.sqrt((cov[0, 0] + cov[1, 1]) / 200)
    assert stage.change_error == pytest.approx(paired) and paired < apart / 2
    assert stage.change == pytest.approx(100 * (later.mean() - base.mean()))


def test_items_are_matched_by_name_and_not_by_place() -> None:
    later = frame({"a": [0, 1, 1]}).iloc[[2, 0, 1]]
    records = ability_records([ability_of("a", 3)], {0: frame({"a": [0, 1, 1]}), 1: later})
    assert records["a"].stages["1"].change == 0 and records["a"].stages["1"].change_error == 0


# --- a whole run


@pytest.fixture
def quick(fake_config: Make, tmp_path: Path) -> Make:
    """Runs with three small abilities of one's own, ``a``, ``b`` and ``c``, and large passes."""
    tasks = tuple(str(own_task(tmp_path / n, items("builtin_facts")[:9], task=n)) for n in ABC)

    def make(**changes: object) -> RunConfig:
        settings: dict[str, object] = {"abilities": tasks, "token_budget": 2000, "train_limit": 4, "test_limit": 3}
        return fake_config(**(settings | changes))

    return make


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The abilities that a model was really asked, in order."""
    asked: list[str] = []
    plain = measure_ability

    def count(speaker: Speaker, ability: Ability) -> Any:
        asked.append(ability.name)
        return plain(speaker, ability)

    monkeypatch.setattr("lifealign_bench.scoring.abilities.measure.measure_ability", count)
    monkeypatch.setattr("lifealign_bench.scoring.abilities.measure.measure_ability", count)
    return asked


def test_a_run_measures_the_ends_and_asks_the_base_model_once_for_all_runs(quick: Make, counted: list[str]) -> None:
    config = quick(abilities=("builtin",))
    record = run(config)
    assert counted == [*BUILTIN] * 2
    assert list(record.abilities) == list(BUILTIN)
    for name, ability in record.abilities.items():
        assert list(ability.stages) == ["0", "3"] and not ability.chat_template
        assert (ability.metric, ability.items, ability.chance) == ("acc", len(items(name)), 25.0)
        values = pd.read_parquet(config.run_directory() / "stage-3" / "abilities.parquet")
        own = values.loc[values["ability"] == name, "value"]
        assert ability.stages["3"].value == pytest.approx(100 * own.mean())
    assert set(values.columns) == {"ability", "item", "metric", "value"}
    assert record.stages[3].seconds["ability"] > 0 and record.stages[3].tokens["ability"] > 0
    assert "ability" not in record.stages[1].seconds
    assert read_record(config.run_directory() / "record.json") == record
    counted.clear()
    other = run(quick(abilities=("builtin",), method="replay", seed=1))
    assert counted == [*BUILTIN]  # the last stage alone
    assert [a.stages["0"] for a in other.abilities.values()] == [a.stages["0"] for a in record.abilities.values()]


def test_every_stage_where_that_is_asked_for(quick: Make, counted: list[str]) -> None:
    record = run(quick(ability_stages="all"))
    assert counted == [*ABC] * 4
    assert list(record.abilities["b"].stages) == ["0", "1", "2", "3"]


def test_a_run_without_abilities_has_none(quick: Make, counted: list[str]) -> None:
    config = quick(abilities=())
    record = run(config)
    assert not counted and not record.abilities and not record.abilities_left_out
    assert not (config.run_directory() / "stage-0" / "abilities.parquet").exists()
    view = RunView(record)
    assert ability_grid(view) is None and tax_note(view) is None and run_summary(view)["alignment_tax"] is None


def test_a_run_that_was_stopped_goes_on_where_it_was(quick: Make, counted: list[str], tmp_path: Path) -> None:
    straight = run(quick(out=tmp_path / "straight"))
    counted.clear()
    config = quick()
    with pytest.raises(Interrupted, match="scoring after stage 3"):
        run(config, stopped=lambda: len(counted) == 2)
    assert counted == ["a", "b"]
    record = run(config)
    assert counted == ["a", "b", "c"]
    assert record.abilities == straight.abilities and record.status == "complete"
    # A file that is damaged afterwards is found, and that stage alone is scored again.
    (config.run_directory() / "record.json").unlink()
    file = config.run_directory() / "stage-3" / "abilities.parquet"
    file.write_bytes(file.read_bytes()[:-3])
    again = run(config)
    assert again.abilities == record.abilities and len(counted) == 6


def test_what_was_left_out_is_in_the_record_and_stays_out(quick: Make, tmp_path: Path) -> None:
    path = own_task(tmp_path / "t", [], dataset_path="nobody/nothing", dataset_kwargs=None)
    config = quick(abilities=(str(tmp_path / "a" / "mine.yaml"), str(path)))
    record = run(config)
    assert record.abilities_left_out == {"mine": "the hub is switched off (HF_HUB_OFFLINE)"}
    assert str(tmp_path) not in json.dumps([a.model_dump() for a in record.abilities.values()])
    (config.run_directory() / "record.json").unlink()
    own_task(tmp_path / "t", items("builtin_facts")[:2])
    told: list[str] = []

    class Told(Progress):
        def notice(self, text: str) -> None:
            told.append(text)

    assert run(config, Told()).abilities == record.abilities
    assert any("it stays out" in text for text in told)
    (config.run_directory() / "record.json").unlink()
    (config.run_directory() / "abilities.json").write_text("{")
    with pytest.raises(BenchError, match=r"abilities\.json is damaged"):
        run(config)


def test_abilities_are_added_to_a_finished_run_as_if_asked_for_at_the_start(
    quick: Make, counted: list[str], call: Call, tmp_path: Path
) -> None:
    config = quick()
    a, b, c = config.abilities
    whole = run(config)
    part = quick(abilities=(a,), out=tmp_path / "part")
    run(part)
    counted.clear()
    code, _, shown = call("score", str(part.run_directory()), "--ability", f"{b},{c}", "--quiet")
    assert code == 0, shown
    assert counted == ["b", "c"]  # the base model's were there
    record = read_record(part.run_directory() / "record.json")
    assert record.abilities == whole.abilities and record.additions[-1].abilities == ["b", "c"]
    counted.clear()
    code, _, _ = call("score", str(part.run_directory()), "--scorer", "overlap", "--quiet")
    again = read_record(part.run_directory() / "record.json")
    assert code == 0 and again.abilities == whole.abilities and "bleu4" in again.scores and not counted
    code, _, _ = call("score", str(part.run_directory()), "--ability", a, "--ability-stages", "all", "--quiet")
    every = read_record(part.run_directory() / "record.json")
    assert code == 0 and counted == [*ABC, *ABC]  # stages 1 and 2
    assert list(every.abilities["a"].stages) == ["0", "1", "2", "3"]
    assert every.abilities["a"].stages["3"] == whole.abilities["a"].stages["3"]
    # A damaged file is found and all abilities are measured again.
    (part.run_directory() / "record.json").unlink()
    (part.run_directory() / "stage-3" / "abilities.parquet").write_bytes(b"")
    finished = run(
        part.model_copy(update={"abilities": (a, b, c), "ability_stages": "all", "scorers": (*part.scorers, "overlap")})
    )
    assert finished.abilities == every.abilities


def test_a_method_that_reads_whole_inputs_is_measured_as_well(quick: Make) -> None:
    record = run(quick(method="l2p"))
    assert record.model.layout == "whole"
    assert record.abilities["c"].stages["3"].value is not None


# --- tables


def record_with(abilities: dict[str, AbilityRecord], **changes: Any) -> Record:
    content = json.loads((ROOT / "tests" / "records" / "v1.json").read_text(encoding="utf-8"))
    return Record.model_validate({**content, "abilities": abilities, "status": "complete", **changes})


def ability_record(change: float, error: float) -> AbilityRecord:
    base = AbilityStage(value=60.0, standard_error=4.0, change=None, change_error=None)
    last = AbilityStage(value=60.0 + change, standard_error=4.1, change=change, change_error=error)
    return AbilityRecord(metric="acc", items=100, chance=25.0, digest="d", stages={"0": base, "3": last})


def test_the_table_shows_change_interval_and_tax() -> None:
    records = {"one": ability_record(-10.0, 3.0), "two": ability_record(4.0, 4.0), "still": ability_record(0.0, 0.0)}
    view = RunView(
        record_with(records, abilities_left_out={"gone": "the hub is switched off", "away": "the hub is switched off"})
    )
    grid = ability_grid(view)
    assert grid is not None
    rows = [[str(cell) for cell in row] for row in grid.rows]
    assert grid.heads == ("ability", "metric", "items", "chance", "stage 0", "stage 3", "change", "95 % interval")
    assert rows[0] == ["one", "acc", "100", "25.0", "60.0 ±4.0", "50.0 ±4.1", "-10.0 ±3.0", "[-15.9, -4.1]"]
    # The mean: -2, its error sqrt(9 + 16) / 3.
    assert rows[-1] == ["mean", "—", "300", "—", "60.0", "58.0", "-2.0 ±1.7", "[-5.3, 1.3]"]
    text = " ".join(grid.notes)
    assert "Left out: gone, away (the hub is switched off)." in text
    assert "of 100 items that is compatible with up to 3.0 % changing" in text
    stream = io.StringIO()
    for shown in record_grids(view):
        show_grid(Console(file=stream, width=160), shown)
    said = stream.getvalue()
    assert "General ability (percent)" in said
    assert "Alignment tax: general ability changed by -2.0 [-5.3, 1.3] points (3 abilities, 300 items)." in said


def test_the_same_as_json() -> None:
    view = RunView(record_with({"one": ability_record(-10.0, 3.0), "two": ability_record(4.0, 4.0)}))
    summary = json.loads(json.dumps(run_summary(view), allow_nan=False))
    assert summary["alignment_tax"] == {
        "stage": 3,
        "value": -3.0,
        "standard_error": 2.5,
        "low": pytest.approx(-3 - 4.899910),
        "high": pytest.approx(-3 + 4.899910),
    }
    assert summary["abilities"]["one"]["stages"]["3"]["change"] == -10.0
    assert ability_summary(view)["abilities_left_out"] == {}


def test_only_the_base_model_has_no_change_yet() -> None:
    record = ability_record(1.0, 1.0)
    only = record.model_copy(update={"stages": {"0": record.stages["0"]}})
    view = RunView(record_with({"one": only}, status="interrupted"))
    grid = ability_grid(view)
    assert grid is not None and "no change yet" in grid.notes[-1] and tax_note(view) is None


@pytest.mark.model
def test_the_embedded_model_is_above_chance_and_below_the_ceiling(tmp_path: Path) -> None:
    from lifealign_bench.results.statistics import wilson_interval

    join(True)
    config = RunConfig(
        method="dpo",
        stream="mini",
        tasks=("mini-facts",),
        train_limit=4,
        test_limit=4,
        device="cpu",
        out=tmp_path,
    )
    config = resolved(config)  # in the type that is faster here
    session = Session.build(config, load_data(config, Progress()), make_method(config), Progress())
    right = asked = 0.0
    for ability in found("builtin")[0].tests:
        values, _ = measure_ability(session.speaker, ability)
        low, high = wilson_interval(values.sum(), len(values))
        assert low > 0.25 and high < 0.9, (ability.name, values.mean())
        right, asked = right + values.sum(), asked + len(values)
    assert 0.4 < right / asked < 0.7

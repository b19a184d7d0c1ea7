"""GPU hours of many runs from lengths alone, and the page that shows those of the paper's table."""

from __future__ import annotations

import json

import pytest

from benchmarks.paper_page import PAGE, memory_table, page_configs
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.decoding import MOST_SLOTS, decoding_seconds
from lifealign_bench.experiments.estimate import DECODING_UTILISATION, GPUS, TRAINING_UTILISATION
from lifealign_bench.experiments.hours import known_lengths, plan_hours
from lifealign_bench.experiments.memory import Sizes
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.util.progress import TRAIN_WORK
from lifealign_bench.util.text import DASH, number
from tests.command import Call

H200 = GPUS["H200"]
PARAMETERS = 7_615_616_512


def test_hours_are_tokens_over_stated_speeds_times_the_runs() -> None:
    words = Words(method=("dpo",), stream=("TruthfulQA",), preset="paper", seed=("0", "1"), scorers=("bleu_char",))
    plan = plan_hours(build_configs(words).configs, H200)
    (row,) = plan.rows
    tokens = sum(p.tokens for p in known_lengths("TruthfulQA", "train", None))
    a_token = 2 * PARAMETERS / (H200.bfloat16 * TRAINING_UTILISATION)
    assert row.runs == 2 and plan.assumed == () and plan.engines == ("batches",)
    assert row.seconds["preference"] == pytest.approx(2 * 3 * tokens * TRAIN_WORK * a_token)
    assert row.seconds["reference"] == pytest.approx(2 * tokens * a_token)
    # 83 prompts in three batches of 32, before and after the stage: 1024 steps each, which read all weights.
    steps = 2 * 2 * 3 * 1024 * 2 * PARAMETERS / (H200.bandwidth * DECODING_UTILISATION)
    prompts = sum(p.prompt for p in known_lengths("TruthfulQA", "test", None))
    assert row.seconds["generation"] == pytest.approx(steps + 2 * 2 * prompts * a_token)
    assert plan.hours == pytest.approx(sum(plan.parts.values())) == pytest.approx(sum(row.seconds.values()) / 3600)


def test_what_cannot_be_done_is_named_and_what_is_not_known_refused() -> None:
    words = Words(method=("grpo", "dpo"), stream=("TruthfulQA",), preset="paper")
    grpo, dpo = plan_hours(build_configs(words).configs, H200).rows
    assert "reward" in grpo.refused and grpo.hours == 0 and dpo.refused == "" and dpo.hours > 0
    with pytest.raises(BenchError, match="Nothing is known of the lengths of mini-") as caught:
        plan_hours(build_configs(Words(method=("dpo",), stream=("mini",))).configs, H200)
    assert "order1" in caught.value.remedy


def test_more_sequences_side_by_side_read_the_weights_less_often() -> None:
    sizes = Sizes(
        weights=1000, trainable=0, hidden=1, intermediate=1, layers=1, vocabulary=1, kv_width=1, value_bytes=1
    )
    config = build_configs(Words(method=("dpo",), stream=("TruthfulQA",), preset="paper")).configs[0]
    batches = decoding_seconds(config, sizes, [300, 10], 76, 1e12, 1.0)
    assert batches == (10 + 1) * 1024 * 1000  # 300 in ten batches of 32, 10 in one
    engine = config.model_copy()
    object.__setattr__(engine, "generation_engine", "continuous")
    side_by_side = decoding_seconds(engine, sizes, [300, 10], 76, 1e12, 1.0)
    a_token = 2 * (76 + 512)
    expected = 2 * 1024 * (1000 + MOST_SLOTS * a_token) + 1024 * (1000 + 10 * a_token)
    assert side_by_side == expected


def test_the_page_shows_what_the_dry_run_tells() -> None:
    text = PAGE.read_text(encoding="utf-8")
    configs = page_configs(text)
    assert {c.seed for c in configs} == {0, 1, 2} and {c.stream for c in configs} == {"order1", "order2", "order3"}
    shown = {cells[0]: cells for cells in map(cells_of, text.splitlines()) if cells}
    # One method of every kind of work; to plan all of them takes seconds.
    some = plan_hours([c for c in configs if c.method in ("dpo", "gem", "joint", "replay", "rft")], H200)
    for row in some.rows:
        if row.refused:
            assert row.method not in shown
            continue
        told = dict(zip(shown["method"], shown[row.method], strict=True))
        assert told["runs"] == "9" and told["hours"] == number(row.hours), (
            "make it anew: python benchmarks/paper_page.py"
        )
        for part, seconds in row.seconds.items():
            assert told[part] == (number(seconds / 3600) if seconds else DASH), part
    methods = {c.method_name for c in configs}
    # What has no row is what the page says has none.
    refused = text[text.rindex("The methods that learn from a reward") :]
    assert methods - shown.keys() == {name for name in methods if f"`{name}`" in refused}, (
        "make it anew: python benchmarks/paper_page.py"
    )
    other = [c.model_copy(update={"generation_engine": "continuous"}) for c in configs if c.method == "dpo"]
    hours = number(plan_hours(other, H200).parts["generation"])
    assert (
        f"the {shown['dpo'][shown['method'].index('generation')]} hours are {hours} by the same stated speeds" in text
    )
    rows = [cells for name, cells in shown.items() if name in methods]
    assert shown["all"][1] == str(9 * len(rows))
    assert float(shown["all"][-1].replace(",", "")) == pytest.approx(sum(float(row[-1]) for row in rows), abs=1.5)
    assert "\n".join(line for line in memory_table(configs[0]).splitlines()) in text


def test_the_dry_run_of_a_sweep_tells_hours(call: Call) -> None:
    words = ("sweep", "--method", "dpo", "--stream", "TruthfulQA", "--preset", "paper", "--scorer", "bleu_char")
    code, out, said = call(*words, "--dry-run", "--gpu", "h200", "--json")
    assert code == 0, said
    plan = json.loads(out)
    assert (plan["gpu"], plan["engines"], plan["methods"][0]["runs"]) == ("H200", ["batches"], 1)
    assert plan["hours"] == pytest.approx(sum(plan["parts"].values())) and plan["parts"]["generation"] > 0
    code, out, _ = call(*words, "--dry-run", "--gpu", "H200")
    assert code == 0 and "GPU hours on one H200" in out and "Stated speeds, not measured ones" in out
    code, _, said = call(*words, "--gpu", "H200")
    assert code == 2 and "--gpu is for --dry-run alone" in said and "--devices" in said


def cells_of(line: str) -> list[str]:
    """Of a row of a Markdown table; empty where it is none."""
    return [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] if line.startswith("| ") else []

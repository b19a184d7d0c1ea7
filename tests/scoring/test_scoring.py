"""Scores: hand cases of the scorers, matrices from per-pair scores, and the base model asked only once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Method, MethodConfig, Stage
from lifealign_bench.models.encode import EncodedPair, spoken_lengths
from lifealign_bench.models.rounding import rounding_noise
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.results.published import publish_run, read_pair_scores
from lifealign_bench.results.record import ScoreMatrix, read_record
from lifealign_bench.results.sameness import is_judged
from lifealign_bench.results.scores import ScoreInfo, score_matrices
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.scorer import TaskView
from lifealign_bench.scoring.scorers import SCORERS, load_scorers, score_infos

Make = Callable[..., RunConfig]


def view(policy: list[list[float]], base: list[list[float]], responses: list[str] | None = None) -> TaskView:
    pairs = tuple(
        Pair(f"fake-upper/test/{i}", "fake-upper", (Message("user", "q"),), "ANT", "an ant", {"text": "ANT"})
        for i in range(len(policy))
    )
    texts = None if responses is None else tuple(responses)
    return TaskView(
        card=load_task("fake-upper"),
        pairs=pairs,
        policy=np.array(policy),
        base=np.array(base),
        lengths=np.array([[2.0, 4.0]] * len(policy)),
        responses=texts,
        base_responses=None if texts is None else ("a",) * len(texts),
    )


def test_preference_scores_by_hand() -> None:
    scorer = load_scorers(("preference",))["preference"]
    found = scorer.score(view([[-4, -10], [-9, -4], [-5, -6]], [[-5, -9], [-6, -4], [-5, -6]])).values
    assert found["preference_margin"].tolist() == [2.0, -3.0, 0.0]
    assert found["preference_accuracy"].tolist() == [1.0, 0.0, 0.5]
    assert found["policy_margin"].tolist() == [-2 + 2.5, -4.5 + 1, -2.5 + 1.5]
    assert found["policy_accuracy"].tolist() == [1.0, 0.0, 0.0]
    # 2 and 4 tokens: the third pair gains nothing, the second loses 1.5 a token and 0.
    assert found["preference_margin_per_token"].tolist() == [0.5 + 0.25, -1.5, 0.0]
    assert found["preference_accuracy_per_token"].tolist() == [1.0, 0.0, 0.5]
    assert found["chosen_longer"].tolist() == [0.0, 0.0, 0.0]


def test_a_drift_of_all_tokens_alike_prefers_a_length_by_sums_and_none_by_token() -> None:
    """Every token lost 0.1 nats: of sums the shorter response wins, here always the chosen one."""
    scorer = load_scorers(("preference",))["preference"]
    found = scorer.score(view([[-1.2, -3.4]], [[-1.0, -3.0]])).values
    assert found["preference_accuracy"].tolist() == [1.0]
    assert found["preference_margin"] == pytest.approx([0.2])
    assert found["preference_margin_per_token"] == pytest.approx([0.0])


def test_pairs_within_rounding_are_counted_after_training() -> None:
    scorer = load_scorers(("preference",))["preference"]
    seen = view([[-4, -10], [-5, -6], [-5.9, -6]], [[-5, -9], [-5, -6], [-6, -6]])  # margins 2, 0 and 0.1
    noise = np.array([0.9, 0.1, 0.06])
    assert scorer.score(seen).facts == {}, "what the noise is, is not known"
    assert scorer.score(replace(seen, noise=noise)).facts == {}, "the base model against itself"
    told = scorer.score(replace(seen, noise=noise, stage=1)).facts
    assert told == {"pairs": 3, "noise_nats": pytest.approx(1.06 / 3), "within_noise": 2}


def test_what_a_template_writes_after_the_end_of_turn_is_no_length() -> None:
    pair = Pair("t/test/0", "t", (Message("user", "q"),), "a", "b")

    def encoded(chosen: tuple[int, ...], rejected: tuple[int, ...]) -> EncodedPair:
        return EncodedPair(pair, (1,), chosen, rejected)

    pairs = [encoded((5, 6, 2, 9), (7, 2, 9)), encoded((5, 6, 7), (2,)), encoded((5, 2, 6, 2), (3, 9, 9))]
    assert spoken_lengths(pairs, {2, 3}).tolist() == [[3, 2], [3, 1], [4, 1]]  # the second was cut before its end
    assert spoken_lengths([], {2}).shape == (0, 2)


def test_reward_and_win_rates_by_hand() -> None:
    scorer = load_scorers(("reward",))["reward"]
    zero = [[0.0, 0.0]] * 3
    found = scorer.score(view(zero, zero, ["ANT", "a", "AN"])).values
    assert found["reward"].tolist() == [1.0, 0.0, pytest.approx(1 / 3)]
    assert found["win_rate"].tolist() == [1.0, 0.5, 1.0]  # the base model says "a": reward 0
    assert found["win_rate_chosen"].tolist() == [0.5, 0.0, 0.0]


def test_an_unknown_scorer_names_the_close_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'reward'"):
        load_scorers(("rewards",))


def test_a_score_says_who_judges_and_of_old_ones_the_name_does() -> None:
    for name in SCORERS.names():
        for info in SCORERS.load(name).scores:
            (matrix,) = score_matrices(["t"], {}, 0, [info]).values()
            assert (info.name, is_judged(info.name, matrix)) == (info.name, name in ("judge", "reward_model", "win"))
            old = {key: value for key, value in matrix.model_dump(mode="json").items() if key != "judged_by"}
            before = ScoreMatrix.model_validate(old)
            assert is_judged(info.name, before) == is_judged(info.name, matrix)
            assert before.model_dump(mode="json") == old, "written again, an old record stays as it was"
    said = score_matrices(
        ["t"], {}, 0, [ScoreInfo("mine", False, ""), ScoreInfo("theirs", False, "", judged_by="judge")]
    )
    assert [is_judged(name, matrix) for name, matrix in said.items()] == [False, True]
    assert is_judged("mine", None)


INFO = [ScoreInfo("s", True, ""), ScoreInfo("m", False, "")]


def frame(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(task, f"{task}/{i}", v, 2 * v) for task, numbers in values.items() for i, v in enumerate(numbers)]
    return pd.DataFrame(rows, columns=["task", "pair_id", "s", "m"])


def test_cells_are_means_with_standard_errors_and_n() -> None:
    found = score_matrices(["a", "b"], {0: frame({"a": [0.0, 1.0], "b": [1.0]}), 2: frame({"a": [1.0, 1.0]})}, 2, INFO)
    assert found["s"].value == [[50.0, 100.0], [None, None], [100.0, None]]
    assert found["m"].value == [[1.0, 2.0], [None, None], [2.0, None]]
    assert found["s"].standard_error[0] == [pytest.approx(50.0), None]
    assert found["s"].n == [[2, 1], [0, 0], [2, 0]]


def test_errors_of_cells_go_by_cluster() -> None:
    """Two answers to one prompt are one item: four pairs in two clusters that agree are two items."""
    rows = frame({"a": [1.0, 1.0, 0.0, 0.0], "b": [1.0, 0.0]})
    rows["cluster"] = ["x", "x", "y", "y", "p", "q"]
    found = score_matrices(["a", "b"], {0: rows}, 0, INFO)["s"]
    # Of a: deviations sum to 1 and -1 in its clusters; sqrt(2 / 1 * 2) / 4 = 1/2, and by pair it would be 1/3**0.5 / 2.
    assert found.standard_error[0] == [pytest.approx(50.0), pytest.approx(50.0)] and found.errors_by == "cluster"
    plain = score_matrices(["a", "b"], {0: rows.drop(columns="cluster")}, 0, INFO)["s"]
    assert plain.standard_error[0] == [pytest.approx(50 / 3**0.5), pytest.approx(50.0)] and plain.errors_by is None
    assert plain.value == found.value and "errors_by" not in plain.model_dump(mode="json")
    mixed = score_matrices(["a", "b"], {0: rows, 1: rows.drop(columns="cluster")}, 1, INFO)["s"]
    assert mixed.errors_by is None and mixed.standard_error[0] == plain.standard_error[0]
    partial = [ScoreInfo("s", True, "", partial=True)]
    many = pd.DataFrame({"task": "a", "cluster": [f"{i // 2}" for i in range(24)], "s": [1.0, 1.0, 0.0, 0.0] * 6})
    whole = score_matrices(["a"], {0: many}, 0, partial)["s"].standard_error[0][0]
    many.loc[3, "s"] = math.nan
    lacking = score_matrices(["a"], {0: many}, 0, partial)["s"]
    u = 4 * [2 * (1 - 12 / 23)] + 2 * [2 * (1 - 12 / 23)] + 5 * [2 * (-12 / 23)] + [-12 / 23]
    assert whole == pytest.approx(100 * (12 / 11 * 12) ** 0.5 / 24)
    assert lacking.standard_error[0][0] == pytest.approx(100 * (12 / 11 * sum(x * x for x in u)) ** 0.5 / 23)


def test_the_noise_of_rounding_grows_with_the_root_of_the_tokens_and_the_types_epsilon() -> None:
    tokens = np.array([1.0, 4.0, 100.0])
    coarse, fine = (rounding_noise(tokens, dtype) for dtype in (torch.bfloat16, torch.float32))
    assert (coarse / coarse[0]).tolist() == [1.0, 2.0, 10.0]
    assert (coarse / fine).tolist() == [2.0**16] * 3  # 8 and 24 bits
    assert 0.1 < coarse[2] < 1.0 and fine[2] < 1e-4


def test_a_missing_value_makes_no_partial_mean() -> None:
    found = score_matrices(["a"], {0: frame({"a": [1.0, math.nan]})}, 1, INFO)
    assert found["s"].value == [[None], [None]]


@given(st.permutations(["a", "b", "c"]))
def test_a_permutation_of_tasks_permutes_the_matrix(order: list[str]) -> None:
    rows = {k: frame({"a": [k, 1.0], "b": [0.5], "c": [1.0, 0.0, k]}) for k in range(4)}
    straight = score_matrices(["a", "b", "c"], rows, 3, INFO)["s"].array()
    permuted = score_matrices(order, rows, 3, INFO)["s"].array()
    assert np.array_equal(permuted, straight[:, ["abc".index(task) for task in order]])


def test_the_base_model_is_asked_once_for_all_runs(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run(fake_config())

    def never(self: PeftModel) -> None:
        raise AssertionError("the base model was asked again")

    monkeypatch.setattr(PeftModel, "disable_adapter", never)
    record = run(fake_config(method="replay", seed=1))
    assert record.status == "complete"


def test_a_damaged_cache_is_computed_again(fake_config: Make, own_cache: object) -> None:
    from pathlib import Path

    first = run(fake_config())
    for file in Path(str(own_cache)).rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    again = run(fake_config(out=fake_config().out / "again"))
    assert again.scores == first.scores


def test_the_token_budget_changes_no_score(fake_config: Make) -> None:
    one = run(fake_config(token_budget=1000, test_limit=5))
    other = run(fake_config(token_budget=40, test_limit=5, out=fake_config().out / "b"))
    for name in ("preference_margin", "policy_margin"):
        assert np.allclose(one.scores[name].array(), other.scores[name].array(), atol=1e-4), name


def test_stage_0_is_the_base_model(fake_config: Make) -> None:
    record = run(fake_config())
    assert record.scores["preference_accuracy"].array()[0].tolist() == [50.0] * 3
    assert record.scores["preference_margin"].array()[0].tolist() == [0.0] * 3
    assert record.scores["win_rate"].array()[0].tolist() == [50.0] * 3


def test_only_seen_tasks_when_asked(fake_config: Make) -> None:
    record = run(fake_config(evaluate="seen"))
    scores = record.scores["preference_accuracy"].array()
    assert np.isnan(scores[np.triu_indices(4, k=0, m=3)]).all()
    assert not np.isnan(scores[1:][np.tril_indices(3)]).any()
    metrics = record.metrics["preference_accuracy"]
    assert metrics["average_performance"] is not None and metrics["forward_transfer"] is None


def test_a_run_of_tasks_without_rewards_that_scored_no_base_model_is_published_whole(
    fake_config: Make, tmp_path: Path
) -> None:
    rows = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no"} for i in range(8)]
    card = {"name": "plain", "title": "no reward", "source": {"type": "inline", "train": rows, "test": rows}}
    (tmp_path / "plain.yaml").write_text(json.dumps(card))
    config = fake_config(evaluate="seen", scorers=("preference", "reward"))
    config = config.model_copy(update={"tasks": ("plain",), "task_cards": {"plain": tmp_path / "plain.yaml"}})
    run(config)
    place = tmp_path / "results" / "seed-0.json"
    publish_run(config.run_directory(), place)
    block = read_pair_scores(place)[1]["plain"]
    assert np.isnan(block.values["reward"]).all() and not np.isnan(block.values["preference_accuracy"]).any()


def test_joint_has_one_stage_in_the_last_row(fake_config: Make) -> None:
    record = run(fake_config(method="joint"))
    scores = record.scores["preference_accuracy"].array()
    assert np.isnan(scores[1:3]).all() and not np.isnan(scores[[0, 3]]).any()
    metrics = record.metrics["preference_accuracy"]
    assert metrics["last"] == pytest.approx(scores[3].mean())
    assert metrics["backward_transfer"] is None and metrics["forgetting"] is None


def test_records_and_files_hold_what_they_should(fake_config: Make) -> None:
    config = fake_config()
    record = run(config)
    folder = config.run_directory()
    text = (folder / "record.json").read_text()
    for secret in ("call ant", "ANT", "a ant"):
        assert secret not in text  # no training text in a record
    frame = pd.read_parquet(folder / "stage-2" / "scores.parquet")
    names = {info.name for info in score_infos(config)}
    assert len(frame) == 18 and set(frame.columns) == {"task", "pair_id", "cluster", *names}
    for name, matrix in record.scores.items():
        values = frame.loc[frame.task == "fake-lower", name]
        assert values.mean() * (100 if matrix.percent else 1) == pytest.approx(matrix.value[2][1], abs=1e-9)
    lines = [json.loads(x) for x in (folder / "stage-2" / "generations.jsonl").read_text().splitlines()]
    assert [x["pair_id"] for x in lines] == frame.pair_id.tolist()
    assert {"task", "pair_id", "prompt", "response", "token_ids"} == lines[0].keys()
    assert record.data["fake-upper"].train_pairs == 8 and record.stages[2].tokens["train"] > 0
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("checkpoints"))


def test_weights_that_are_no_numbers_are_one_message(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks(Method):
        def after_stage(self, stage: Stage, model: PeftModel) -> None:
            if stage.index == stage.count:
                next(p for n, p in model.named_parameters() if "lora_B" in n).data.fill_(math.nan)

    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: Breaks(MethodConfig()))
    config = fake_config()
    with pytest.raises(BenchError, match="After stage 3 the model gives nan") as raised:
        run(config)
    assert "learning_rate" in raised.value.remedy
    record = read_record(config.run_directory() / "record.json")
    assert record.status == "failed" and "nan" in (record.error or "")

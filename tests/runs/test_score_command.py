"""``score``: scores that are added to a finished run are those of a run that had them asked for at the start."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, Interrupted, UsageError
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.runs.rescoring import add_scores, extended, run_of
from lifealign_bench.runs.run import run
from lifealign_bench.scoring import evidence
from lifealign_bench.util.progress import Progress, Work
from tests.command import Call

Make = Callable[..., RunConfig]


def frames(config: RunConfig) -> list[pd.DataFrame]:
    """The scores of all stages."""
    files = sorted(config.run_directory().glob("stage-*/scores.parquet"))
    return [pd.read_parquet(file) for file in files]


class Meter(Progress):
    """What was foreseen and what was done."""

    def __init__(self) -> None:
        self.work, self.done, self.ended = Work(0.0, 0), 0.0, False

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.work = work

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        self.done += work

    def run_finished(self) -> None:
        self.ended = True


def same(one: RunConfig, other: RunConfig) -> bool:
    """Whether two runs have the same scores and responses, to the bit."""
    ours, theirs = (
        [f.read_text() for f in sorted(c.run_directory().glob("stage-*/generations.jsonl"))] for c in (one, other)
    )
    return ours == theirs and all(a.equals(b) for a, b in zip(frames(one), frames(other), strict=True))


def added(config: RunConfig, *scorers: str, stopped: Callable[[], bool] = lambda: False) -> Record:
    """Scores added to the run of ``config``."""
    before = run_of(config.run_directory())
    return add_scores(before, extended(before, scorers, {}), stopped=stopped)


def test_what_is_to_be_scored_is_foreseen(fake_config: Make) -> None:
    config = fake_config(method="dpo", scorers=("preference",))
    run(config)
    before, meter, again = run_of(config.run_directory()), Meter(), Meter()
    add_scores(before, extended(before, ["distance"], {}), meter)
    assert meter.ended and meter.work.stages == len(config.tasks) and meter.work.done == 0
    # Responses end before they are as long as allowed.
    assert 0.3 * meter.work.total < meter.done <= 1.1 * meter.work.total
    add_scores(before, extended(before, ["distance"], {}), again)
    assert again.work.done == again.work.total and again.done == 0


def test_the_distance_at_the_ends_is_that_of_every_stage_and_spares_the_rest(fake_config: Make, call: Call) -> None:
    """Two passes over every response after every stage are four times those of the last stage in a stream of seven."""
    config = fake_config(method="replay")
    run(config)
    code, _, text = call("score", str(config.run_directory()), "--scorer", "distance", "--distance-stages", "ends")
    assert code == 0, text
    record = read_record(config.run_directory() / "record.json")
    whole = fake_config(
        method="replay",
        scorers=(*config.scorers, "distance"),
        distance_stages="ends",
        out=config.out / "whole",
    )
    expected = run(whole)
    assert same(config, whole) and record.scores == expected.scores and record.config_hash == expected.config_hash
    everywhere = run(fake_config(method="replay", scorers=whole.scorers, out=config.out / "all"))
    ends, every = (r.scores["kl_base"].array() for r in (record, everywhere))
    assert np.array_equal(ends[[0, -1]], every[[0, -1]]) and np.all(every[1:] > 0)
    assert np.isnan(ends[1:-1]).all()
    for score in ("response_words", "response_repeated"):
        assert record.scores[score] == everywhere.scores[score]
    assert [("distance" in stage.tokens) for stage in record.stages] == [False, False, False, True]
    before = run_of(config.run_directory())
    with pytest.raises(UsageError, match="distance_stages 'ends'"):
        extended(before, ["distance"], {"distance_stages": "all"})


@pytest.mark.parametrize("first", [("preference", "reward"), ("preference",), ("overlap",)])
def test_added_scores_are_those_of_the_start(fake_config: Make, first: tuple[str, ...]) -> None:
    config = fake_config(method="replay", scorers=first)
    once = run(config)
    record = added(config, "reward", "overlap", "distance")
    wanted = tuple(dict.fromkeys((*first, "reward", "overlap", "distance")))
    whole = fake_config(method="replay", scorers=wanted, out=config.out / "whole")
    expected = run(whole)
    assert same(config, whole)
    assert record.scores == expected.scores and record.metrics == expected.metrics
    assert record.config == expected.config and record.config_hash == expected.config_hash
    # What was run, and when, stays; what was added is said.
    assert (record.created, record.finished, record.attempts) == (once.created, once.finished, once.attempts)
    (addition,) = record.additions
    assert addition.scorers == [name for name in wanted if name not in first]
    assert record.stages[2].tokens.keys() == expected.stages[2].tokens.keys()
    assert json.loads((config.run_directory() / "record.json").read_text())["schema_version"] == 2


def test_nothing_is_trained_or_generated_again(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config()
    run(config)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was asked")

    for name in ("score", "respond", "divergences", "base_score"):
        monkeypatch.setattr(Speaker, name, never)
    monkeypatch.setattr("lifealign_bench.runs.stages.train_stage", never)
    record = added(config, "overlap")
    assert record.scores["bleu4"].array().shape == (4, 3)


def test_stopped_it_goes_on(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config(scorers=("preference",))
    before = run(config)
    asked = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Interrupted):
        added(config, "overlap", "distance", stopped=stopped)
    # The run is what it was: a half-scored stage is in no record.
    assert run(config) == before
    done: list[str] = []
    original = evidence.Gathering._kept

    def kept(self: evidence.Gathering, part: str, compute: Callable[[], dict[str, object]]) -> dict[str, object]:
        def noted() -> dict[str, object]:
            done.append(f"{self.stage} {part}")
            return compute()

        return original(self, part, noted)

    monkeypatch.setattr(evidence.Gathering, "_kept", kept)
    added(config, "overlap", "distance")
    assert len(done) == 4 * 4 - 5 and len(set(done)) == len(done)  # responses and three distances a stage
    whole = fake_config(scorers=("preference", "overlap", "distance"), out=config.out / "whole")
    run(whole)
    assert same(config, whole)


def test_killed_between_scores_and_marker_the_remedy_mends_it(fake_config: Make) -> None:
    config = fake_config()
    record = run(config)
    file = config.run_directory() / "stage-2" / "scores.parquet"
    pd.read_parquet(file).assign(bleu4=0.0).to_parquet(file, index=False)
    with pytest.raises(BenchError) as error:
        added(config, "overlap")
    assert "Delete its record.json and run its command again" in error.value.remedy
    (config.run_directory() / "record.json").unlink()
    assert run(config).scores == record.scores
    added(config, "overlap")
    whole = fake_config(scorers=("preference", "reward", "overlap"), out=config.out / "whole")
    run(whole)
    assert same(config, whole)


def test_a_second_time_changes_nothing(fake_config: Make) -> None:
    config = fake_config()
    run(config)
    first = added(config, "overlap")
    assert added(config, "overlap") == first


def test_the_old_command_still_finds_the_run(fake_config: Make, call: Call) -> None:
    config = fake_config()
    run(config)
    record = added(config, "overlap")
    assert run(config) == record
    with pytest.raises(BenchError) as error:
        run(fake_config(scorers=("preference", "distance")))
    assert "scorers is" in error.value.message and "lifealign-bench score" in error.value.remedy
    with pytest.raises(BenchError, match="learning_rate"):
        run(fake_config(training=config.training.model_copy(update={"learning_rate": 1e-3})))


def test_the_run_of_a_user_with_own_cards_and_data(fake_config: Make, tmp_path: Path) -> None:
    """The folder says where the cards lay, and nothing of that is part of what the run is."""
    rows = [{"q": f"say {w}", "good": w.upper(), "bad": w} for w in ("ant", "bee", "cat", "dog", "elk")]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    card = tmp_path / "mine.yaml"
    card.write_text(
        "name: mine\nversion: 1\ntitle: Mine\ndescription: Mine.\nkind: facts\nlanguage: en\nlicense: CC0-1.0\n"
        "source: {type: file, train: train.jsonl, test: test.jsonl}\n"
        "columns: {prompt: q, chosen: good, rejected: bad}\n"
    )
    config = fake_config(stream="mine", tasks=("mine",), task_cards={"mine": card})
    run(config)
    assert added(config, "overlap").scores["rouge_l"].array().shape == (2, 1)


def test_what_cannot_be_scored_is_said(fake_config: Make, call: Call, tmp_path: Path) -> None:
    config = fake_config()
    run(config)
    folder = str(config.run_directory())
    code, _, text = call("score", folder)
    assert code == 2 and "Nothing to score" in text
    code, _, text = call("score", folder, "--scorer", "overlapp")
    assert code == 2 and "overlap" in text
    code, _, text = call("score", folder, "--scorer", "overlap", "--set", "epochs=2")
    assert code == 2 and "epochs" in text
    code, _, text = call("score", str(tmp_path / "nowhere"), "--scorer", "overlap")
    assert code == 2 and "cannot be read" in text
    other = config.run_directory().parent / "seed-7"
    shutil.copytree(config.run_directory(), other)
    code, _, text = call("score", str(other), "--scorer", "overlap")
    assert code == 2 and "should be in a folder called" in text
    record = json.loads((config.run_directory() / "record.json").read_text())
    (config.run_directory() / "record.json").write_text(json.dumps(record | {"status": "interrupted"}))
    code, _, text = call("score", folder, "--scorer", "overlap")
    assert code == 2 and "interrupted" in text and "Traceback" not in text


def test_scores_of_two_judges_are_not_mixed(fake_config: Make) -> None:
    config = fake_config(scorers=("preference", "judge"), judge="server:a")
    with pytest.raises(UsageError, match="server:b"):
        extended(config, ("win",), {"judge": "server:b"})
    assert extended(config, ("win",), {"judge": "server:a"}).scorers == ("preference", "judge", "win")
    both = extended(config.model_copy(update={"scorers": ("win",)}), (), {"opponents": ("chosen",)})
    assert both.opponents == ("base", "chosen")


def test_the_command_shows_the_tables(fake_config: Make, call: Call) -> None:
    config = fake_config()
    run(config)
    code, out, text = call("score", str(config.run_directory()), "--scorer", "overlap", "--json")
    assert code == 0, text
    (summary,) = json.loads(out)
    assert "bleu4" in json.dumps(summary)
    code, out, _ = call("score", str(config.run_directory()), "--scorer", "distance")
    assert code == 0 and "kl base" in out

"""``lifealign-bench reproduce`` on the fakes: the same numbers, edits found, other data refused, stopped, gone on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.experiments.reproduction.recipe import ReproductionRequest, make_recipe, open_source
from lifealign_bench.methods import load_method
from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.published import digest_file, pair_scores_file, seal
from lifealign_bench.results.record import ScoreMatrix
from lifealign_bench.results.verify import submit_run
from lifealign_bench.runs.run import run
from tests.command import Call
from tests.published_records import config_hash

METHOD = '''"""Somebody's own."""

from lifealign_bench.method import Method, register_method


@register_method("mine-{name}")
class Mine(Method):
    """Plain."""
'''


def _config(out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "method": "dpo",
        "stream": "fake-upper,fake-lower",
        "tasks": ("fake-upper", "fake-lower"),
        "model": "fake",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "out": out / "runs",
        "train_limit": 8,
        "test_limit": 6,
        "training": TrainingConfig(learning_rate=5e-3, batch_size=4, checkpoint_steps=1),
        "generation": GenerationConfig(max_new_tokens=6),
    }
    return RunConfig.model_validate(settings | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``runs`` and ``results``, of one run; made as from a commit without changes."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIFEALIGN_BENCH_CACHE", str(out / "cache"))
        patch.setattr("lifealign_bench.runs.recording.git_state", _clean)
        config = _config(out)
        run(config)
        submit_run(config.run_directory(), out / "results", Origins())
        yield out


def _clean() -> dict[str, str | bool | None]:
    return {"commit": "a" * 40, "dirty": False}


@pytest.fixture(autouse=True)
def clean_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifealign_bench.runs.recording.git_state", _clean)


@pytest.fixture
def published(finished: Path, tmp_path: Path) -> Path:
    """The record, of which the test may change what it likes."""
    shutil.copytree(finished / "results", tmp_path / "results")
    return next((tmp_path / "results").rglob("seed-0.json"))


def test_the_same_circumstances_give_the_same_bits(published: Path, call: Call, tmp_path: Path) -> None:
    code, out, err = call("reproduce", str(published))
    assert code == 0, err
    assert out.startswith("Verdict: to the bit.")
    assert "every number must be the same to the bit" in err  # the expectation, before anything is trained
    assert "Tolerance: float32 on a CPU" in out and "100.0 % of the test pairs" in out
    place = tmp_path / "runs" / "reproduced" / "fake-upper,fake-lower" / "fake" / "dpo" / "seed-0"
    first = (place / "record.json").read_bytes()
    # Again: it is finished, and only compared.
    code, out, err = call("reproduce", str(published), "--json", "--quiet")
    assert code == 0
    found = json.loads(out)
    assert found["verdict"] == "to the bit" and found["reproduced"] and found["to_the_bit_expected"]
    assert found["pairs_same_to_the_bit"] is True and found["differs"] == {}
    assert found["largest_differences"]["preference_margin"]["difference"] == 0
    assert (place / "record.json").read_bytes() == first
    script = "import sys\nfrom lifealign_bench.cli import main\ntry:\n    main(sys.argv[1:])\n"
    script += "except SystemExit as end:\n    sys.exit(end.code or int('torch' in sys.modules))\n"
    words = [sys.executable, "-c", script, "reproduce", str(published), "--json", "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "a comparison loads no torch"
    assert json.loads(done.stdout) == found


def test_a_runs_folder_is_reproduced_as_well(finished: Path, call: Call) -> None:
    folder = _config(finished).run_directory()
    code, out, _ = call("reproduce", str(folder), "--json", "-q")
    assert code == 0 and json.loads(out)["verdict"] == "to the bit"


def test_other_circumstances_are_named_and_have_a_tolerance(published: Path, call: Call) -> None:
    words = ("reproduce", str(published), "--dtype", "bfloat16", "--json", "-q")
    code, out, _ = call(*words, "--threads", "2", "--dry-run")
    plan = json.loads(out)
    assert code == 0 and not Path("runs").exists()
    assert plan["differs"]["dtype"] == {"record": "float32", "here": "bfloat16"}
    assert plan["differs"]["threads"] == {"record": "1", "here": "2"}
    code, out, _ = call(*words)
    found = json.loads(out)
    assert not found["to_the_bit_expected"] and "bfloat16" in found["why_not"][0]
    assert found["verdict"] == "within the stated tolerance" and code == 0
    margin = found["largest_differences"]["preference_margin"]
    assert 0 < abs(margin["difference"]) <= margin["tolerance"]


def _forge(place: Path, column: str, change: float) -> None:
    """Another score of every pair at the end, and all that follows from it; sealed anew."""
    file = pair_scores_file(place)
    frame = pd.read_parquet(file)
    frame.loc[frame["stage"] == 2, column] += change
    frame.to_parquet(file, index=False)
    content = json.loads(place.read_text(encoding="utf-8"))
    matrix = content["scores"][column]
    matrix["value"][2] = [value + change for value in matrix["value"][2]]
    values = summarize(ScoreMatrix.model_validate(matrix).array())
    content["metrics"][column] = {name: float(value) for name, value in values.items()}
    place.write_text(json.dumps(content), encoding="utf-8")
    seal(place)


def test_an_edited_number_contradicts_its_pairs_before_anything_is_trained(published: Path, call: Call) -> None:
    content = json.loads(published.read_text(encoding="utf-8"))
    content["scores"]["preference_accuracy"]["value"][2][0] += 1
    published.write_text(json.dumps(content), encoding="utf-8")
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "not as it was written" in err and "it was edited" in err
    seal(published)
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "its pairs give" in err and "Nothing was trained" in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("change", [1e-6, 5.0])
def test_edits_that_agree_with_each_other_do_not_come_out(published: Path, call: Call, change: float) -> None:
    _forge(published, "preference_margin", change)
    code, out, err = call("reproduce", str(published), "--quiet")
    assert code == 1, err
    assert out.startswith("Verdict: not reproduced: preference_margin 2 fake-lower")


def test_with_a_tolerance_a_large_edit_is_found(published: Path, call: Call) -> None:
    _forge(published, "preference_margin", 5.0)
    code, out, _ = call("reproduce", str(published), "--quiet", "--dtype", "bfloat16", "--json")
    found = json.loads(out)
    assert code == 1 and found["verdict"] == "not reproduced"
    assert found["largest_differences"]["preference_margin"]["state"] == "outside"
    assert found["largest_differences"]["preference_accuracy"]["state"] != "outside"


def test_other_data_is_refused_with_the_remedy(published: Path, call: Call) -> None:
    content = json.loads(published.read_text(encoding="utf-8"))
    content["data"]["fake-lower"]["test_digest"] = "0" * 64
    published.write_text(json.dumps(content), encoding="utf-8")
    seal(published)
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "The test pairs of fake-lower are not those of the record" in err
    assert "--task-card" in err and not Path("runs").exists()


def test_stopped_and_continued_is_the_same(
    published: Path, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = iter(range(100))

    @contextmanager
    def soon(say: Callable[[], None]) -> Iterator[Callable[[], bool]]:
        yield lambda: next(asked) >= 2

    with monkeypatch.context() as patch:
        patch.setattr("lifealign_bench.cli.output.stop_on_interrupt", soon)
        code, out, err = call("reproduce", str(published))
    assert code == 130 and "This continues where it was" in err and "Verdict" not in out
    record = next((tmp_path / "runs").rglob("record.json"))
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "interrupted"
    code, out, _ = call("reproduce", str(published))
    assert code == 0 and "Verdict: to the bit." in out
    assert json.loads(record.read_text(encoding="utf-8"))["attempts"] == 2


def test_a_run_that_is_not_finished_is_refused(finished: Path, call: Call, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(_config(finished).run_directory(), tmp_path / "run"))
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    (folder / "record.json").write_text(json.dumps(content | {"status": "interrupted"}), encoding="utf-8")
    code, _, err = call("reproduce", str(folder))
    assert code == 2 and "interrupted" in err and "Only a finished run" in err


def _edited(place: Path, **config: Any) -> Path:
    content = json.loads(place.read_text(encoding="utf-8"))
    content["config"] |= config
    content["config_hash"] = config_hash(content["config"])
    place.write_text(json.dumps(content), encoding="utf-8")
    seal(place)
    return place


def test_somebodys_own_method_needs_its_file(published: Path, call: Call, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    # A record may name any file: it is not opened because a record does.
    file.write_text("raise SystemExit('opened')", encoding="utf-8")
    _edited(published, method=str(file))
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "somebody's own file" in err and "--method-file" in err and "SHA-256" in err
    code, _, err = call("reproduce", str(published), "--method-file", "nowhere.py")
    assert code == 2 and "There is no method file" in err
    mine = tmp_path / "mine.py"
    # The record has dpo's settings, and a file that lacks them is refused.
    plain = METHOD.replace("{name}", "reproduced")
    mine.write_text(plain.replace("mine-", "without-"), encoding="utf-8")
    code, _, err = call("reproduce", str(published), "--method-file", str(mine))
    assert code == 2 and "has no setting loss here" in err
    fields = load_method("dpo").Config.model_fields
    config = "".join(f"    {name}: Any = {field.default!r}\n" for name, field in fields.items())
    imports = "from typing import Any\nfrom lifealign_bench.method import MethodConfig\n\n\n"
    config = f"{imports}class MineConfig(MethodConfig):\n{config}"
    head, _, rest = plain.partition("from lifealign_bench")
    mine.write_text(f"{head}{config}\n\nfrom lifealign_bench{rest}\n    Config = MineConfig\n", encoding="utf-8")
    code, out, err = call("reproduce", str(published), "--method-file", str(mine), "--json", "-q")
    assert out, err
    found = json.loads(out)
    # DPO is what a method without hooks does: the numbers come out, and the other file is named.
    assert code == 0 and found["verdict"] == "to the bit" and "method's file" in found["differs"]


def test_a_method_that_is_at_hand_takes_no_file(published: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "dpo.py").write_text(METHOD, encoding="utf-8")
    code, _, err = call("reproduce", str(published), "--method-file", "dpo.py")
    assert code == 2 and "Leave out --method-file" in err


def test_settings_of_before_and_of_later(published: Path, call: Call) -> None:
    # What the first records had and there is no more; and what they did not have yet.
    content = json.loads(published.read_text(encoding="utf-8"))
    content["schema_version"] = 1
    content["config"]["score_batch_size"] = 16
    content["config"]["training"]["micro_batch_size"] = 4
    for name in ("sft", "supervised", "judging", "reward_models", "abilities", "opponents"):
        content["config"].pop(name)
    content["hardware"].pop("instructions")
    content["hardware"].pop("processes")
    published.write_text(json.dumps(content), encoding="utf-8")
    _edited(published)
    code, out, err = call("reproduce", str(published))
    assert code == 0, err
    assert "score_batch_size is no more" in err and "Verdict: to the bit." in out
    _edited(published, from_the_future=1)
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "from_the_future" in err and "commit aaaa" in err


def test_settings_of_the_method_are_the_records_whatever_the_defaults_are_now(published: Path, call: Call) -> None:
    names = list(load_method("replay").Config.model_fields)
    content = json.loads(published.read_text(encoding="utf-8"))
    content["config"]["method"] = content["method"]["name"] = "replay"
    content["method"]["settings"] = {names[0]: 0.35}
    published.write_text(json.dumps(content), encoding="utf-8")
    recipe = make_recipe(open_source(_edited(published)), ReproductionRequest(out=Path("runs")))
    assert recipe.config.method_settings == {names[0]: 0.35}
    content["method"]["settings"] = {"no_such_setting": 1}
    published.write_text(json.dumps(content), encoding="utf-8")
    _edited(published)
    code, _, err = call("reproduce", str(published), "--dry-run")
    assert code == 2 and "no_such_setting" in err


def test_a_run_is_not_compared_with_itself(finished: Path, call: Call) -> None:
    config = _config(finished)
    code, out, err = call("reproduce", str(config.run_directory()), "--out", str(config.out))
    assert code == 2 and "would be compared with itself" in err and not out


def test_judges_and_runs_that_are_not_at_hand_are_left_out(published: Path, call: Call) -> None:
    _edited(
        published,
        scorers=["preference", "reward", "judge", "win", "reward_model", "forgotten"],
        judge="server:some-judge",
        opponents=["base", "ewc-seed-3"],
        reward_model="no/such/model",
        abilities=["somebody.yaml"],
    )
    code, out, _ = call("reproduce", str(published), "--json", "-q", "--dry-run")
    plan = json.loads(out)
    assert code == 0
    left = plan["left_out"]
    assert set(left) == {"judge", "win", "win against ewc-seed-3", "reward_model", "forgotten", "somebody.yaml"}
    assert "--judge-url" in left["judge"] and "not available" in left["reward_model"]
    assert plan["config"]["scorers"] == ["preference", "reward"] and not plan["to_the_bit_expected"]
    _edited(published, scorers=["judge"])
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "None of the record's scores can be had here" in err


def test_a_card_of_ones_own_has_to_be_named(published: Path, call: Call, tmp_path: Path) -> None:
    content = json.loads(published.read_text(encoding="utf-8").replace("fake-lower", "own-task"))
    published.write_text(json.dumps(content), encoding="utf-8")
    frame = pd.read_parquet(pair_scores_file(published))
    frame["pair_id"] = frame["pair_id"].str.replace("fake-lower/", "own-task/")
    frame.replace({"task": {"fake-lower": "own-task"}}).to_parquet(pair_scores_file(published), index=False)
    _edited(published)
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "own-task" in err and "--task-card" in err
    rows = '{"prompt": "a?", "chosen": "b", "rejected": "c"}\n'
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(rows, encoding="utf-8")
    card = "name: own-task\ntitle: Own\nlicense: CC0-1.0\nsource: {type: file, train: train.jsonl, test: test.jsonl}\n"
    (tmp_path / "own.yaml").write_text(card, encoding="utf-8")
    code, _, err = call("reproduce", str(published), "--task-card", "own.yaml")
    assert code == 2 and "pairs of own-task are not those of the record" in err
    (tmp_path / "other.yaml").write_text(card.replace("own-task", "other-task"), encoding="utf-8")
    code, _, err = call("reproduce", str(published), "--task-card", "other.yaml")
    assert code == 2 and "which the record has not" in err


def test_code_of_a_model_runs_only_where_the_user_says_so(published: Path, call: Call) -> None:
    _edited(published, trust_remote_code=True)
    code, _, err = call("reproduce", str(published))
    assert code == 2 and "--trust-remote-code" in err and not Path("runs").exists()


def test_names_lead_nowhere_and_show_nothing(published: Path, call: Call, tmp_path: Path) -> None:
    _edited(published, stream="../../out\x1b[31m<b>", model="fake")
    code, _, err = call("reproduce", str(published), "--out", "below")
    assert code == 0 and "\x1b" not in err
    assert all(path.is_relative_to(tmp_path / "below") for path in tmp_path.rglob("record.json"))


def test_without_a_digest_or_pairs_it_says_so(published: Path, call: Call) -> None:
    digest_file(published).unlink()
    pair_scores_file(published).unlink()
    code, out, err = call("reproduce", str(published))
    assert code == 0 and "Verdict: to the bit." in out
    assert "no digest" in err and "per-pair scores are not available" in err


def test_the_help_states_the_tolerance(call: Call) -> None:
    code, out, _ = call("reproduce", "--help")
    text = " ".join(out.split())
    assert code == 0 and "Tolerance." in text and "2 of the record's standard errors" in text and "Bonferroni" in text
    assert "Exit code: 0" in text

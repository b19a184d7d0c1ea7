"""Runs and results in repositories of the hub: what is shown, what is sent, and what is refused in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, constants, parse_eval_result_entries
from safetensors.numpy import load as load_tensors

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.page.content import Page
from lifealign_bench.reporting.sharing.modelrepo import model_push
from lifealign_bench.reporting.sharing.space import README
from lifealign_bench.results.record import read_record, write_record
from lifealign_bench.results.view import RunView
from lifealign_bench.util.hub import HubFile, HubPlace, Push, left_behind, repository_name
from tests.command import Call
from tests.hub_server import TOKEN, StandInHub, StandInRepository, stand_in_hub
from tests.places import ROOT
from tests.published_records import publish, rewrite

pytestmark = pytest.mark.xdist_group("sharing")
PLACE = HubPlace("me", "toy")
TO = ("--to", "hub:me/toy")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub(monkeypatch) as found:
        yield found


@pytest.fixture
def own_run(toy_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(toy_run, tmp_path / "own"))


def metadata(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_without_yes_it_is_shown_and_nothing_is_asked_of_the_hub(call: Call, hub: StandInHub, toy_run: Path) -> None:
    code, out, err = call("push", str(toy_run), *TO)
    assert code == 0 and hub.asked == []
    assert f"{hub.address}/me/toy, a model repository: 4 files" in out
    for said in ("adapter_model.safetensors", "library_name: peft", "Nothing was pushed", "# dpo on fake"):
        assert said in out
    assert "no .eval_results" in err and "names no licence" in err and "no base model" in err


def test_a_run_is_one_commit_that_peft_and_the_hub_can_read(call: Call, hub: StandInHub, toy_run: Path) -> None:
    words = ("--stages", "all", "--benchmark", "me/results", "--licence", "MIT", "--private", "--yes")
    code, out, err = call("push", str(toy_run), *TO, *words)
    assert code == 0, err
    repository = hub.repositories["models", "me/toy"]
    assert repository.private and len(repository.commits) == 1 and f"Pushed: {hub.address}/me/toy/commit/1" in out
    adapters = {f"{folder}{name}" for folder in ("", "stage-1/", "stage-2/") for name in ADAPTER}
    others = {"README.md", "record.json", ".eval_results/lifealign-bench.yaml", ".gitattributes"}
    assert set(repository.files) == adapters | others
    last, first = (toy_run / f"stage-{stage}" / "adapter" for stage in (2, 1))
    assert repository.files["adapter_model.safetensors"] == (last / "adapter_model.safetensors").read_bytes()
    assert repository.files["stage-1/adapter_model.safetensors"] == (first / "adapter_model.safetensors").read_bytes()
    assert load_tensors(repository.files["adapter_model.safetensors"])
    config = json.loads(repository.files["adapter_config.json"])
    assert config == json.loads((last / "adapter_config.json").read_text()) | {"base_model_name_or_path": None}
    assert repository.files["record.json"] == (toy_run / "record.json").read_bytes()

    view = RunView.open(toy_run)
    (entry,) = parse_eval_result_entries(yaml.safe_load(repository.files[".eval_results/lifealign-bench.yaml"]))
    assert (entry.dataset_id, entry.task_id) == ("me/results", "fake")
    assert entry.value == pytest.approx(view.metric(view.ranked_by, "last"))
    assert entry.source_url == f"{hub.address}/me/toy/blob/main/record.json" and "seed 0" in entry.notes
    card = ModelCard(repository.files["README.md"].decode())
    assert card.data.license == "mit" and "lifealign-bench" in card.data.tags
    results = {(r.dataset_type, r.metric_type): r.metric_value for r in card.data.eval_results}
    matrix = view.record.scores["preference_accuracy"].array()
    assert results["fake-lower", "preference_accuracy"] == pytest.approx(matrix[2, 1])
    assert results["fake", "preference_accuracy.last"] == pytest.approx(matrix[2].mean())
    # The token goes with the requests to the hub, and nowhere else.
    assert {token for method, path, token in hub.asked if "/large/" not in path} == {f"Bearer {TOKEN}"}
    assert not any(TOKEN.encode() in content for content in repository.files.values()) and TOKEN not in out + err


ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def test_a_second_push_sends_no_large_file_again_and_takes_away_what_is_stale(
    call: Call, hub: StandInHub, toy_run: Path
) -> None:
    assert call("push", str(toy_run), *TO, "--stages", "all", "--yes")[0] == 0
    sent = list(hub.sent)
    repository = hub.repositories["models", "me/toy"]
    repository.files["picture.png"] = b"the owner's own"
    repository.files["stage-9/adapter_config.json"] = b"{}"
    assert call("push", str(toy_run), *TO, "--yes")[0] == 0
    assert hub.sent == sent and len(repository.commits) == 2
    assert "picture.png" in repository.files and not any(path.startswith("stage-") for path in repository.files)


def test_results_are_a_data_set_with_a_table_a_board_and_the_tasks_of_a_benchmark(
    call: Call, hub: StandInHub, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    publish(results, pairs=10)
    (results / "private-notes.txt").write_text("not for others")
    code, _, err = call("push", str(results), "--to", "hub:me/records", "--yes")
    assert code == 0, err
    repository = hub.repositories["datasets", "me/records"]
    for ending in ("json", "scores.parquet", "sha256"):
        path = f"some/small/dpo/seed-0.{ending}"
        assert repository.files[path] == (results / path).read_bytes()
    assert not any("private" in path for path in repository.files)
    card = DatasetCard(repository.files["README.md"].decode())
    (config,) = card.data.to_dict()["configs"]
    (data,) = config["data_files"]
    rows = repository.files[data["path"]].decode().splitlines()
    head, first = (dict(zip(rows[0].split(","), rows[i].split(","), strict=True)) for i in (0, 1))
    assert list(head) and (first["method"], first["metric"]) == ("dpo", "average_performance")
    record = read_record(results / "some/small/dpo/seed-0.json")
    wanted = record.metrics["preference_accuracy"]["average_performance"]
    assert float(first["value"]) == pytest.approx(wanted) and float(first["low"]) <= float(first["value"])
    benchmark = yaml.safe_load(repository.files["eval.yaml"])
    assert benchmark["tasks"] == [{"id": "some", "config": config["config_name"], "split": data["split"]}]
    assert "## some on small" in card.text and "| dpo |" in card.text


def test_a_name_is_text_in_a_card_and_does_nothing(toy_run: Path) -> None:
    view = RunView.open(toy_run)
    odd = "x|<img src=x onerror=1>\n---\nlicense: gpl"
    record = view.record.model_copy(update={"config": view.record.config | {"model_label": odd}})
    push = pushed_unchecked(RunView(record, toy_run))
    assert "license" not in metadata(push.card) and push.card.count("\n---\n") == 1
    assert "<img" not in push.card.replace("\\<img", "") and "onerror=1\\>" in push.card


@pytest.mark.parametrize(
    ("model", "base", "licence"),
    [
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("gemma3-270m", "google/gemma-3-270m", "gemma"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None),
    ],
)
def test_the_card_names_the_base_model_and_the_adapter_leads_to_it(
    toy_run: Path, model: str, base: str, licence: str | None
) -> None:
    view = RunView.open(toy_run)
    named = RunView(view.record.model_copy(update={"config": view.record.config | {"model": model}}), toy_run)
    # The record is another than the files give, which is refused; only the card is looked at.
    push = pushed_unchecked(named)
    found = metadata(push.card)
    assert (found["base_model"], found.get("license")) == (base, licence)
    config = next(file.content for file in push.files if file.path == "adapter_config.json")
    assert isinstance(config, bytes) and json.loads(config)["base_model_name_or_path"] == base
    assert f'from_pretrained("{base}")' in push.card
    assert ("four bits" in push.card) == (licence is not None)


def pushed_unchecked(view: RunView) -> Push:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lifealign_bench.reporting.sharing.modelrepo.view_problems", lambda view: [])
        return model_push(view, PLACE)


def test_a_place_on_this_machine_that_the_record_names_is_told_before(toy_run: Path) -> None:
    view = RunView.open(toy_run)
    config = view.record.config | {"method": "/home/me/mine.py", "tasks": ["fake-upper", "/home/me/task.yaml"]}
    push = pushed_unchecked(RunView(view.record.model_copy(update={"config": config}), toy_run))
    told = [note.rpartition(" ")[2] for note in push.notes if "names a place of this machine" in note]
    assert told == ["/home/me/mine.py", "/home/me/task.yaml"]


def test_a_method_that_is_more_than_an_adapter_says_so(toy_run: Path) -> None:
    view = RunView.open(toy_run)
    whole = view.record.model.model_copy(update={"layout": "whole"})
    push = pushed_unchecked(RunView(view.record.model_copy(update={"model": whole}), toy_run))
    assert "The adapter alone is not the model that was scored" in push.card


@pytest.mark.parametrize(
    "text", ["me/toy", "hub:toy", "hub:me/", "hub:me/a b", "hub:me/../x", "hub:a/b/c", "hub:me/x.git"]
)
def test_a_place_that_is_none_is_refused(call: Call, toy_run: Path, text: str) -> None:
    with pytest.raises(UsageError, match="Write hub:USER/NAME"):
        HubPlace.read(text)


def test_names_of_repositories() -> None:
    assert repository_name("me/a.b_c-1") and not repository_name("me/a--b") and not repository_name(f"me/{'x' * 95}")


def test_what_cannot_be_pushed_is_refused_before_the_hub_is_asked(
    call: Call, hub: StandInHub, own_run: Path, tmp_path: Path
) -> None:
    record = read_record(own_run / "record.json")
    place = publish(tmp_path / "results")
    (tmp_path / "nothing").mkdir()

    def refused(path: Path, *words: str) -> str:
        code, _, err = call("push", str(path), *TO, "--yes", *words)
        assert code == 2 and hub.asked == [] and "Traceback" not in err, err
        return err

    write_record(own_run / "record.json", record.model_copy(update={"status": "interrupted"}))
    assert "is not finished (status: interrupted)" in refused(own_run)
    write_record(own_run / "record.json", record)
    weights = own_run / "stage-1/adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "is damaged or was edited" in refused(own_run)
    shutil.rmtree(own_run / "stage-1/adapter")
    assert "is missing" in refused(own_run)
    assert "has no adapters to push" in refused(place)
    assert "There are no published records" in refused(tmp_path / "nothing")
    assert "--stages and --benchmark are of a run" in refused(tmp_path / "results", "--stages", "all")
    assert "is no data set of the hub" in refused(own_run, "--benchmark", "results")
    assert "is no licence" in refused(own_run, "--licence", "MIT or so")
    content = json.loads(place.read_text()) | {"attempts": 7}
    rewrite(place, content, sealed=False)
    assert "Not all of" in refused(tmp_path / "results") and hub.repositories == {}


def test_what_the_hub_does_not_let_is_said_in_words(
    call: Call, hub: StandInHub, toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(to: str = "hub:me/toy") -> str:
        code, out, err = call("push", str(toy_run), "--to", to, "--yes")
        assert code == 2 and "Pushed" not in out and "Traceback" not in err and TOKEN not in out + err, err
        return err

    assert "does not let this token write to you/toy" in refused("hub:you/toy")
    hub.repositories["datasets", "me/toy"] = StandInRepository()
    assert "hub:me/toy is a data set on the hub" in refused()
    del hub.repositories["datasets", "me/toy"]
    hub.repositories["models", "me/toy"] = StandInRepository({"README.md": b"---\ntags: [mine]\n---\n"})
    assert "holds what no push of lifealign-bench put there: README.md" in refused()
    hub.repositories.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "There is no token" in refused() and "hf auth login" in refused()
    monkeypatch.undo()


def test_a_hub_that_is_not_there_is_said_in_words(
    call: Call, hub: StandInHub, toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, err = call("push", str(toy_run), *TO, "--yes")
    assert code == 2 and "The hub at 127.0.0.1:9 does not answer" in err and "HF_ENDPOINT" in err


def test_only_what_a_push_wrote_before_is_stale() -> None:
    push = Push("model", (HubFile("stage-1/a", b""),), "t", "tag", owned=("stage-*/a",))
    assert left_behind(["stage-1/a", "stage-2/a", "stage-2/b", "notes/a"], push) == ["stage-2/a"]
    assert left_behind(["stage-2/a"], replace(push, owned=())) == []


@pytest.fixture
def plain_page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """What every report is of, in a moment."""
    page = Page("dpo <on> fake", "s", "report of a run", ())
    monkeypatch.setattr("lifealign_bench.reporting.page.report.make_page", lambda paths, wish: page)
    return page


def test_a_report_becomes_a_static_space(call: Call, toy_run: Path, tmp_path: Path, plain_page: Page) -> None:
    folder = tmp_path / "space"
    for _ in range(2):  # the second time over its own
        assert call("report", str(toy_run), "--space", str(folder))[0] == 0
    assert {path.name for path in folder.iterdir()} == {"index.html", README}
    card = (folder / README).read_text(encoding="utf-8")
    found = metadata(card)
    assert found["sdk"] == "static" and found["app_file"] == "index.html" and plain_page.title in found["title"]
    assert len(found["short_description"]) <= 60 and found["emoji"] and "dpo \\<on\\> fake" in card
    page = unescape((folder / "index.html").read_text(encoding="utf-8"))
    assert "default-src 'none'" in page and "<script src" not in page and "<link" not in page


def test_a_space_takes_nobody_elses_place(call: Call, toy_run: Path, tmp_path: Path, plain_page: Page) -> None:
    (tmp_path / README).write_text("# mine\n")
    code, _, err = call("report", str(toy_run), "--space", str(tmp_path))
    assert code == 2 and "no report wrote it" in err and not (tmp_path / "index.html").exists()
    assert (tmp_path / README).read_text() == "# mine\n"
    assert call("report", str(toy_run), "--space", "space", "--out", "x.html")[0] == 2


def test_make_space_writes_the_leaderboard_where_git_does_not_look() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "report results --space space" in makefile
    assert "/space/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_error_of_a_record_alone_names_it(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is a record alone"):
        model_push(RunView.open(publish(tmp_path)), PLACE)

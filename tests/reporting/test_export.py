"""A run in other tools' formats: the numbers are the run's, and each tool's own reader takes the files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lm_eval.utils import get_file_task_name, get_results_filenames, get_sample_results_filenames, make_table

from lifealign_bench.reporting.exports.everyeval import SCHEMA
from lifealign_bench.reporting.exports.formats import FORMATS, ExportRequest, export_run
from lifealign_bench.reporting.exports.stage import StageExport
from lifealign_bench.results.folder import read_prompts, read_responses
from lifealign_bench.results.record import AbilityRecord, AbilityStage, read_record, write_record
from lifealign_bench.results.view import RunView
from lifealign_bench.scoring.winrate.alpaca import load_alpaca_eval
from tests.command import Call
from tests.published_records import publish

pytestmark = pytest.mark.xdist_group("sharing")
TASKS = ("fake-upper", "fake-lower")
# Large, and the second for Python 3.12 and later: neither is needed for an export.
needs_inspect = pytest.mark.skipif(find_spec("inspect_ai") is None, reason="inspect_ai is not installed")
needs_every_eval = pytest.mark.skipif(find_spec("every_eval_ever") is None, reason="every-eval-ever is not installed")


@pytest.fixture(scope="module")
def exported(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Format to the folder with all stages of the run."""
    top = tmp_path_factory.mktemp("exported")
    view = RunView.open(toy_run)
    for name in FORMATS:
        export_run(view, ExportRequest(name, top / name, "all"))
    return {name: top / name for name in FORMATS}


def content(folder: Path, pattern: str) -> list[Any]:
    """The JSON files of a folder, in the order of their stages."""
    found = [json.loads(path.read_text()) for path in folder.rglob(pattern)]
    return sorted(found, key=lambda one: json.dumps(one).count("stage-2") * 2 + json.dumps(one).count("stage-1"))


def matrix_of(run: Path, score: str) -> Any:
    return RunView.open(run).record.scores[score].array()


def test_lm_eval_reads_its_results(toy_run: Path, exported: dict[str, Path]) -> None:
    names = sorted(f"/{path.relative_to(exported['lm-eval'])}" for path in exported["lm-eval"].rglob("*.json*"))
    assert len(get_results_filenames(names)) == 3 and len(get_sample_results_filenames(names)) == 6
    assert {get_file_task_name(Path(name).name) for name in get_sample_results_filenames(names)} == set(TASKS)
    (last,) = exported["lm-eval"].glob("*stage-2/results_*.json")
    found = json.loads(last.read_text())
    table, matrix = make_table(found), matrix_of(toy_run, "preference_accuracy")
    for column, task in enumerate(TASKS):
        assert found["results"][task]["preference_accuracy,none"] == pytest.approx(matrix[2, column] / 100)
        assert f"- {task}" in table
    assert found["results"]["fake"]["preference_accuracy,none"] == pytest.approx(matrix[2].mean() / 100)
    assert "preference_accuracy" in make_table(found, "groups")
    assert found["n-samples"][TASKS[0]] == {"original": 4, "effective": 4}


def test_lm_evals_samples_hold_the_responses_and_the_scores_of_responses_alone(
    toy_run: Path, exported: dict[str, Path]
) -> None:
    (file,) = exported["lm-eval"].glob(f"*stage-2/samples_{TASKS[1]}_*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    said = read_responses(toy_run / "stage-2", TASKS[1])
    assert {line["doc"]["pair_id"]: line["resps"][0][0] for line in lines} == said
    assert [line["doc_id"] for line in lines] == [0, 1, 2, 3]
    assert all({"reward", "win_rate"} <= set(line["metrics"]) for line in lines)
    assert not any("preference" in metric for line in lines for metric in line["metrics"])
    mean = sum(line["win_rate"] for line in lines) / len(lines)
    assert mean == pytest.approx(matrix_of(toy_run, "win_rate")[2, 1] / 100)


def test_abilities_are_tasks_of_lm_eval(toy_run: Path, tmp_path: Path) -> None:
    view = RunView.open(toy_run)
    stages = {"2": AbilityStage(value=75.0, standard_error=5.0, change=None, change_error=None)}
    ability = AbilityRecord(metric="acc", items=80, chance=25.0, digest="0" * 64, stages=stages)
    record = view.record.model_copy(update={"abilities": {"arc_easy": ability}})
    export_run(RunView(record, toy_run), ExportRequest("lm-eval", tmp_path))
    (found,) = content(tmp_path, "results_*.json")
    own = found["results"]["arc_easy"]
    assert (own["acc,none"], own["acc_stderr,none"], found["n-samples"]["arc_easy"]["effective"]) == (0.75, 0.05, 80)
    assert "arc_easy" in make_table(found)


def test_a_log_of_inspect_has_every_pair_as_a_sample(toy_run: Path, exported: dict[str, Path]) -> None:
    log = content(exported["inspect"], "*.json")[-1]
    assert (log["version"], log["status"], log["eval"]["dataset"]["samples"]) == (2, "success", 8)
    matrix = matrix_of(toy_run, "preference_accuracy")
    scores = {score["name"]: score["metrics"] for score in log["results"]["scores"]}
    assert scores["preference_accuracy"]["mean"]["value"] == pytest.approx(matrix[2].mean() / 100)
    assert scores["preference_accuracy"][TASKS[1]]["value"] == pytest.approx(matrix[2, 1] / 100)
    prompts, said = read_prompts(toy_run / "stage-2"), read_responses(toy_run / "stage-2", TASKS[0])
    for sample in log["samples"][:4]:
        assert sample["output"]["choices"][0]["message"]["content"] == said[sample["id"]]
        assert [turn["content"] for turn in sample["input"]] == [
            turn["content"] for turn in prompts[TASKS[0]][sample["id"]]
        ]
    mean = sum(sample["scores"]["win_rate"]["value"] for sample in log["samples"][4:]) / 4
    assert mean == pytest.approx(matrix_of(toy_run, "win_rate")[2, 1] / 100)
    assert "chosen_longer" not in scores  # a fact of the data, and no score of the model


@needs_inspect
def test_inspect_reads_its_logs(exported: dict[str, Path]) -> None:
    code = (
        "import sys\nfrom inspect_ai.log import list_eval_logs, read_eval_log\n"
        "logs = [read_eval_log(log) for log in list_eval_logs(sys.argv[1])]\n"
        "assert len(logs) == 3 and all(log.status == 'success' and len(log.samples) == 8 for log in logs)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(exported["inspect"])], check=True)


def test_every_eval_ever_gets_aggregates_and_instances(toy_run: Path, exported: dict[str, Path]) -> None:
    files = sorted((exported["every-eval-ever"] / "data/lifealign-bench/lifealign-bench").glob("*stage-2/*.json"))
    (file,) = files
    assert uuid.UUID(file.stem).version == 4
    found = json.loads(file.read_text())
    assert found["schema_version"] == SCHEMA == "0.3.0" and found["model_info"]["id"].endswith("stage-2")
    results = {one["evaluation_result_id"]: one for one in found["evaluation_results"]}
    assert len(results) == len(found["evaluation_results"])
    matrix = matrix_of(toy_run, "preference_accuracy")
    own = results[f"{TASKS[1]}/preference_accuracy"]
    assert own["score_details"]["score"] == pytest.approx(matrix[2, 1])
    assert (own["metric_config"]["min_score"], own["metric_config"]["max_score"]) == (0.0, 100.0)
    lost = results["fake/preference_accuracy.forgetting"]["metric_config"]
    assert lost["lower_is_better"] and lost["min_score"] == -100.0
    margin = results[f"{TASKS[1]}/preference_margin"]["metric_config"]
    assert (margin["min_score"], margin["metric_unit"]) == ("-Infinity", "nats")
    companion = exported["every-eval-ever"] / found["detailed_evaluation_results"]["file_path"]
    lines = [json.loads(line) for line in companion.read_text().splitlines()]
    assert companion.stem == f"{file.stem}_samples" and len(lines) == found["detailed_evaluation_results"]["total_rows"]
    assert {line["evaluation_result_id"] for line in lines} <= set(results)
    assert not any("preference" in line["evaluation_result_id"] for line in lines)
    assert {line["evaluation_id"] for line in lines} == {found["evaluation_id"]}
    # What is of the whole run is said of its last stage alone.
    (first,) = (exported["every-eval-ever"] / "data/lifealign-bench/lifealign-bench").glob("*stage-1/*.json")
    assert not any(r["evaluation_name"] == "fake" for r in json.loads(first.read_text())["evaluation_results"])


@needs_every_eval
def test_every_eval_ever_takes_its_records(exported: dict[str, Path]) -> None:
    files = [str(path) for path in (exported["every-eval-ever"] / "data").rglob("*.json*")]
    done = subprocess.run([sys.executable, "-m", "every_eval_ever", "validate", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_alpaca_eval_reads_its_outputs(toy_run: Path, exported: dict[str, Path]) -> None:
    load_alpaca_eval()
    from alpaca_eval.utils import load_or_convert_to_dataframe

    folder = exported["alpaca-eval"] / "stage-2" / TASKS[0] / "base"
    ours, theirs = (load_or_convert_to_dataframe(folder / f"{side}_outputs.json") for side in ("model", "reference"))
    assert list(ours["instruction"]) == list(theirs["instruction"])
    assert set(ours["output"]) == set(read_responses(toy_run / "stage-2", TASKS[0]).values())
    assert set(theirs["output"]) == set(read_responses(toy_run / "stage-0", TASKS[0]).values())
    assert set(ours["dataset"]) == {TASKS[0]} and set(theirs["generator"]) == {"fake"}


def test_what_the_scorer_win_left_is_taken_over(toy_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    judged = run / "stage-2/alpaca" / TASKS[0] / "chosen"
    judged.mkdir(parents=True)
    for name in ("annotations.json", "leaderboard.csv", "model_outputs.json"):
        (judged / name).write_text(f"[{name!r}]")
    export_run(RunView.open(run), ExportRequest("alpaca-eval", tmp_path / "out"))
    copied = tmp_path / "out/stage-2" / TASKS[0] / "chosen"
    assert {path.name: path.read_text() for path in copied.iterdir()} == {
        path.name: path.read_text() for path in judged.iterdir()
    }


def test_a_multi_turn_prompt_is_a_conversation(toy_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    file = run / "stage-2/generations.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    turns = [{"role": role, "content": role[0]} for role in ("system", "user")]
    file.write_text("".join(json.dumps({**line, "prompt": turns}) + "\n" for line in lines))
    export_run(RunView.open(run), ExportRequest("every-eval-ever", tmp_path / "out"))
    (samples,) = (tmp_path / "out").rglob("*_samples.jsonl")
    first = json.loads(samples.read_text().splitlines()[0])
    assert first["interaction_type"] == "multi_turn" and "output" not in first
    assert [turn["role"] for turn in first["messages"]] == ["system", "user", "assistant"]
    assert first["evaluation"]["num_turns"] == 3 and first["input"]["raw"] == "system: s\n\nuser: u"


def test_the_same_export_has_the_same_bytes_and_another_name_another(toy_run: Path, tmp_path: Path) -> None:
    view = RunView.open(toy_run)
    for name in FORMATS:
        first, again = (export_run(view, ExportRequest(name, tmp_path / name)) for _ in range(2))
        assert first == again
    named = StageExport(view, view.rows[-1], "me/toy")
    assert named.uuid != StageExport(view, view.rows[-1]).uuid and named.model_id == "me/toy"


def test_a_record_alone_has_numbers_and_no_samples(tmp_path: Path) -> None:
    view = RunView.open(publish(tmp_path / "results", pairs=10))
    for name in ("lm-eval", "inspect", "every-eval-ever"):
        export_run(view, ExportRequest(name, tmp_path / name))
    assert not list(tmp_path.rglob("*samples*"))
    (log,) = content(tmp_path / "inspect", "*.json")
    assert log["samples"] == [] and log["results"]["scores"]


def test_a_mean_of_some_tasks_is_none(toy_run: Path) -> None:
    view = RunView.open(toy_run)
    matrix = view.record.scores["reward"]
    holed = matrix.model_copy(update={"value": [*matrix.value[:-1], [None, matrix.value[-1][1]]]})
    record = view.record.model_copy(update={"scores": view.record.scores | {"reward": holed}})
    stage = StageExport(RunView(record, toy_run), view.rows[-1])
    assert stage.mean("reward") is None and stage.cell("reward", TASKS[0]) is None
    cells = [stage.cell("win_rate", task) for task in TASKS]
    mean, errors = stage.mean("win_rate"), [cell.error for cell in cells if cell is not None]
    assert mean is not None and mean.pairs == 8
    assert mean.error == pytest.approx(sum(e**2 for e in errors if e is not None) ** 0.5 / 2)


def test_what_cannot_be_exported_is_refused(call: Call, toy_run: Path, tmp_path: Path) -> None:
    def refused(*words: str, run: Path = toy_run) -> str:
        code, out, err = call("export", str(run), "--out", "out", *words)
        assert code == 2 and out == "" and "Traceback" not in err
        return err

    assert "no format 'inspekt'" in refused("--format", "inspekt") or "inspect" in refused("--format", "inspekt")
    assert "has no stage 7" in refused("--format", "inspect", "--stage", "7")
    assert "no name of a model" in refused("--format", "inspect", "--model-id", "toy")
    assert "several models" in refused("--format", "inspect", "--model-id", "me/toy", "--stage", "all")
    assert "kept no responses" in refused("--format", "alpaca-eval", run=publish(tmp_path / "results", pairs=10))
    code, out, _ = call("export", str(toy_run), "--out", "out", "--format", "inspect", "--json")
    (file,) = json.loads(out)["files"]
    assert code == 0
    Path(file).write_text("mine")
    assert "is something else" in refused("--format", "inspect")
    assert call("export", str(toy_run), "--out", "out", "--format", "inspect", "--force")[0] == 0
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    write_record(run / "record.json", read_record(run / "record.json").model_copy(update={"status": "failed"}))
    assert "is not finished (status: failed)" in refused("--format", "inspect", run=run)

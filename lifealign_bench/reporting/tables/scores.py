"""Tables of single scores, and what to know of them: reward models, win rates, movements, abilities, responses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.results.folder import StageResponses
from lifealign_bench.results.history import by_quartile, moved, repetition
from lifealign_bench.results.record import (
    MODEL_REWARD,
    WEAK,
    AbilityRecord,
    AbilityStage,
    Record,
    ScoreMatrix,
    reward_model_facts,
    value_of,
    weak_tasks,
)
from lifealign_bench.results.scores import Change, alignment_tax, by_reward_model, interval_of
from lifealign_bench.results.statistics import wilson_interval
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import DASH, number, rounded, with_error, with_interval

MARK = "(!)"


def agreement_note(matrix: ScoreMatrix) -> list[str]:
    """What the error 0 of a cell whose test pairs all agree does not say; nothing where there is no such cell."""
    values, errors, counts = matrix.array(), matrix.errors(), np.array(matrix.n)
    extreme = (errors == 0) & ((values == 0) | (values == 100)) & (counts > 1)
    if not (matrix.percent and extreme.any()):
        return []
    n = int(counts[extreme].min())
    low = 100 * wilson_interval(n, n)[0]
    return [f"±0.0: all pairs agree; {n} of {n} is compatible with {number(low)} or more (95 % Wilson interval)."]


def score_note(view: RunView, score: str) -> tuple[str, ...]:
    """How good the reward model is, below every table of what it says; empty for other scores."""
    _, tasks = reward_model_facts(view.record)
    if not tasks or not by_reward_model(view.record, score):
        return ()
    accuracy = ", ".join(f"{task} {number(value_of(tasks.get(task, {}), 'accuracy'))} %" for task in view.tasks)
    return (f"Accuracy of the reward model on the test pairs: {accuracy}.", *_weak_note(view.record))


def _weak_note(record: Record) -> tuple[str, ...]:
    if not weak_tasks(record):
        return ()
    return (
        f"{MARK}: the reward model is right on fewer than {WEAK:.0f} % of this task's test pairs (chance is 50 %): its "
        "rewards there say little.",
    )


def score_heads(view: RunView, score: str) -> tuple[str, ...]:
    """The tasks as column headings; those on which a reward model is weak are marked where it speaks."""
    weak = weak_tasks(view.record) if by_reward_model(view.record, score) else frozenset()
    return tuple(f"{task} {MARK}" if task in weak else task for task in view.tasks)


def reward_grid(view: RunView) -> Grid | None:
    """Task by task: how often the reward model is right, and its mean rewards; None in a run without one."""
    model, tasks = reward_model_facts(view.record)
    if not tasks:
        return None
    matrix = view.record.scores.get(MODEL_REWARD)
    last = view.rows[-1].row
    rows: list[tuple[Cell | str, ...]] = []
    for j, task in enumerate(view.tasks):
        said = tasks.get(task, {})
        accuracy = _shown(said, "accuracy", 1) + _interval(said)
        if task in weak_tasks(view.record):
            accuracy += f" {MARK}"
        responses = []
        for row in dict.fromkeys((0, last)):
            value = matrix.array()[row, j] if matrix is not None else math.nan
            error = matrix.errors()[row, j] if matrix is not None else math.nan
            responses.append(with_error(float(value), float(error), 2))
        yardsticks = (_shown(said, "chosen", 2), _shown(said, "rejected", 2))
        rows.append((task, number(value_of(said, "n"), 0), accuracy, *yardsticks, *responses))
    final = "final" if view.complete else "so far"
    heads = ("task", "test pairs", "accuracy %", "chosen", "rejected", "base", *([final] if last else []))
    return Grid(
        f"The reward model ({model.get('name', '')}): accuracy on the test pairs, and mean rewards",
        heads,
        tuple(rows),
        tuple(_notes(view.record, model, tasks)),
    )


def accuracy_grid(said: dict[str, Any]) -> Grid:
    """How good the reward model of a stream was when it was last measured here.

    Args:
        said: see :func:`lifealign_bench.scoring.rewardmodel.accuracy.kept_accuracy`.
    """
    model, tasks = said["model"], {str(k): v for k, v in said["tasks"].items() if isinstance(v, dict)}
    learned = _learned(model)
    rows = []
    for task, own in tasks.items():
        weak = "" if value_of(own, "accuracy") >= WEAK else f" {MARK}"
        accuracy = f"{_shown(own, 'accuracy', 1)}{_interval(own)}{weak}"
        rows.append((task, number(value_of(learned, task), 0), number(value_of(own, "n"), 0), accuracy))
    limits = ", ".join(f"{name} {value}" for name, value in said["limits"].items() if value is not None)
    notes = (
        f"As it was last measured on this machine ({limits or 'no limits'}). In brackets the 95 % interval; chance is "
        f"50 %. {MARK}: below {WEAK:.0f} %, where its rewards say little.",
        *_length_note(tasks),
        *_encoder_note(model, tasks),
    )
    heads = ("task", "pairs learned from", "test pairs", "accuracy %")
    return Grid(f"The reward model ({model.get('name', '')})", heads, tuple(rows), notes)


def _learned(model: dict[str, Any]) -> dict[str, Any]:
    """Task to the pairs that its head learned from."""
    found = model.get("pairs")
    return found if isinstance(found, dict) else {}


def _encoder_note(model: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> list[str]:
    if not model.get("held_out"):
        return []
    learned = _learned(model)
    count = sum(value_of(learned, task) for task in tasks if task in learned)
    licence = f", {model['encoder_licence']}" if model.get("encoder_licence") else ""
    return [
        f"The reward model is a head for each task over the frozen encoder {model.get('encoder', '')} (SHA-256 "
        f"{str(model.get('encoder_sha256', ''))[:12]}{licence}), learned from {number(count, 0)} pairs that the run "
        "neither trains on nor scores (docs/reward-models.md)."
    ]


def _notes(record: Record, model: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> list[str]:
    notes = [
        "accuracy: test pairs whose chosen response has the higher reward, a tie counts half; chosen, rejected: of the "
        "data's responses; base, final: of the model's greedy responses. ± is one standard error"
        + ("; in brackets, the 95 % interval." if any(map(_interval, tasks.values())) else "."),
        *_weak_note(record),
        *_length_note(tasks),
        *_encoder_note(model, tasks),
    ]
    if model.get("trained"):
        notes.append(
            f"The reward model was trained on the stream's {number(value_of(model, 'pairs'), 0)} training pairs, which "
            "the method trains on too: it shares their biases (docs/reward-models.md)."
        )
    cut = sum(int(value_of(said, "cut")) for said in tasks.values() if value_of(said, "cut") > 0)
    if cut:
        notes.append(f"{cut} of the test pairs' responses with their prompts are beyond its cut-off and were cut.")
    return notes


def _interval(said: dict[str, Any]) -> str:
    ends = said.get("accuracy_interval")
    if not (isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)):
        return ""
    return f" ({number(ends[0], 0)} to {number(ends[1], 0)})"


def _length_note(tasks: dict[str, dict[str, Any]]) -> list[str]:
    """How often it is right where the chosen response is the shorter one and where it is the longer one."""
    found = []
    for task, said in tasks.items():
        by_length = said.get("by_length")
        if isinstance(by_length, dict):
            kinds = [k if isinstance(k := by_length.get(name), dict) else {} for name in ("shorter", "longer")]
            found.append(f"{task} {' / '.join(number(value_of(kind, 'accuracy'), 0) for kind in kinds)}")
    return (
        [f"Accuracy in % where the chosen response is the shorter / the longer one: {'; '.join(found)}."]
        if found
        else []
    )


def _shown(said: dict[str, Any], name: str, digits: int) -> str:
    return with_error(value_of(said, name), value_of(said, f"{name}_error"), digits)


_NOTES = (
    "In brackets: 95 % interval over the test pairs (bootstrap). length-controlled: at equal length of both responses.",
    "ties: judged equal in both orders, and identical texts. unusable: a pair without two usable answers of the judge; "
    "it has no value.",
)

_FLAT_NOTE = (
    "An interval without width: all pairs have one outcome, and drawing them again cannot show how sure that is."
)

_ABSENT_NOTE = (
    "No length-controlled win-rate: there are fewer than 5 pairs, all differ by the same length, or more than a tenth "
    "have no value."
)

_ORDER_NOTE = (
    "position bias: share of the pairs put to the judge whose outcome the order changed, and how often what was shown "
    "first gained by it."
)


class _Range(BaseModel):
    low: float | None
    high: float | None


class _Counts(BaseModel):
    """What the table needs of the facts of a task against one opponent; a record may come from anywhere."""

    pairs: int
    ties: int
    identical: int
    unusable: int
    disagreements: int
    first_favoured: int
    win_rate: _Range
    lc_win_rate: _Range


def win_grid(view: RunView) -> Grid | None:
    """Judged win-rates after the last stage, task by task; None where nothing was judged."""
    facts = view.record.facts.get("win")
    if facts is None:
        return None
    last = view.rows[-1]
    found = facts.stages.get(str(last.stage), {})
    ordered = bool(facts.run.get("sees_order"))
    judged = [(task, *entry) for task in view.tasks for entry in _opponents(found.get(task, {}))]
    rows = [(task, name, *_cells(view, last.row, task, name, counts, ordered)) for task, name, counts in judged]
    if not rows:
        return None
    notes = [f"Judge: {facts.run.get('judge', DASH)}.", *_NOTES]
    if any(c.win_rate.low is not None and c.win_rate.low == c.win_rate.high for *_, c in judged):
        notes.append(_FLAT_NOTE)
    if any(row[3] == DASH for row in rows):
        notes.append(_ABSENT_NOTE)
    if ordered:
        notes.append(_ORDER_NOTE)
    heads = ("task", "against", "win-rate", "length-controlled", "pairs", "ties", "unusable")
    return Grid(
        f"Judged win-rates (percent) after {'the last stage' if view.complete else f'stage {last.stage}'}",
        (*heads, "position bias") if ordered else heads,
        tuple(rows),
        tuple(notes),
        labels=2,
    )


def _opponents(found: Mapping[str, Any]) -> Iterator[tuple[str, _Counts]]:
    for name, counts in found.items():
        try:
            yield name, _Counts.model_validate(counts)
        except ValidationError:
            continue  # such as the word that a task was not judged


def _cells(view: RunView, row: int, task: str, opponent: str, counts: _Counts, ordered: bool) -> tuple[str, ...]:
    column = view.tasks.index(task)
    # The value is that of the matrix, which has none where too many pairs are missing.
    cells = (
        _rate(_value(view, f"judged_win_rate_{opponent}", row, column), counts.win_rate),
        _rate(_value(view, f"judged_lc_win_rate_{opponent}", row, column), counts.lc_win_rate),
        str(counts.pairs),
        str(counts.ties),
        str(counts.unusable),
    )
    return (*cells, _bias(counts)) if ordered else cells


def _value(view: RunView, score: str, row: int, column: int) -> float:
    matrix = view.record.scores.get(score)
    return math.nan if matrix is None else float(matrix.array()[row, column])


def _rate(value: float, estimate: _Range) -> str:
    if estimate.low is None or estimate.high is None:
        return number(value)
    return with_interval(value, estimate.low, estimate.high)


def _bias(counts: _Counts) -> str:
    judged = counts.pairs - counts.identical - counts.unusable
    if not judged:
        return DASH
    share = number(100 * counts.disagreements / judged)
    return f"{share} (first {counts.first_favoured} of {counts.disagreements})"


def movement_grid(view: RunView) -> Grid | None:
    """For each task the pairs that changed sides between its own stage and the last; None without per-pair scores."""
    margins = view.pair_scores("preference_margin") if "preference_margin" in view.record.scores else {}
    if not margins or not view.sequential or not view.complete:
        return None
    last = view.rows[-1].row
    rows = []
    for row in view.rows[1:]:
        (task,) = row.tasks
        before, after = margins[task][row.row], margins[task][last]
        if row.row == last or np.isnan(before).any() or np.isnan(after).any():
            continue
        m = moved(before, after)
        rows.append((task, str(m.pairs), str(m.right_before), str(m.lost), str(m.won), str(m.right_after)))
    if not rows:
        return None
    return Grid(
        "Pairs that changed sides after their own stage",
        ("task", "pairs", "right when learned", "lost since", "won since", "right at the end"),
        tuple(rows),
        ("right: the preference margin is above 0. A mean that stands still may hide both losses and wins.",),
    )


def quartile_grid(view: RunView) -> Grid | None:
    """Final accuracy of each task by quarter of the base model's margins; None without per-pair scores."""
    wanted = ("preference_accuracy", "policy_margin")
    if any(name not in view.record.scores for name in wanted) or not view.complete:
        return None
    accuracy, base = (view.pair_scores(name) for name in wanted)
    if not accuracy or not base:
        return None
    last = view.rows[-1].row
    rows = []
    for task in view.tasks:
        correct, margin = accuracy[task][last], base[task][0]
        if np.isnan(correct).any() or np.isnan(margin).any():
            continue
        shares = by_quartile(margin, correct)
        cells = [with_error(s.accuracy, s.standard_error) for s in shares] + [DASH] * (4 - len(shares))
        rows.append((task, *cells, f"{number(shares[0].low, 2)} to {number(shares[-1].high, 2)}"))
    if not rows:
        return None
    return Grid(
        "Preference accuracy (percent) at the end, by quarter of the pairs in the order of the base model's margin",
        ("task", "hardest", "second", "third", "easiest", "base margins"),
        tuple(rows),
        ("base margin: log-probability a token, chosen minus rejected, of the untouched model.",),
    )


_NOTHING = AbilityStage(value=None, standard_error=None, change=None, change_error=None)


def ability_grid(view: RunView) -> Grid | None:
    """Every ability at stage 0 and after the stages that it was measured after; None where none was asked for."""
    records, stages = view.record.abilities, _stages(view)
    if not records or not stages:
        return None
    last = stages[-1]
    heads = ["ability", "metric", "items", "chance"]
    heads += [f"stage {k}" for k in stages]
    heads += ["change", "95 % interval"]
    rows: list[tuple[Cell | str, ...]] = []
    for name, record in records.items():
        found = [record.stages.get(str(k), _NOTHING) for k in stages]
        change = interval_of(found[-1].change, found[-1].change_error)
        rows.append(
            (
                name,
                record.metric,
                number(record.items, 0),
                number(record.chance),
                *(_with_error(f.value, f.standard_error) for f in found),
                *_change_cells(change),
            )
        )
    if len(records) > 1:
        tax = alignment_tax(records, last)
        means = [number(_mean([r.stages.get(str(k), _NOTHING).value for r in records.values()])) for k in stages]
        items = number(sum(r.items for r in records.values()), 0)
        rows.append(("mean", DASH, items, DASH, *means, *_change_cells(tax)))
    return Grid(
        "General ability (percent) and the alignment tax", tuple(heads), tuple(rows), tuple(_tables_notes(view, last))
    )


def tax_note(view: RunView) -> str | None:
    """The alignment tax in one sentence; None where it is not known."""
    stages = _stages(view)
    tax = alignment_tax(view.record.abilities, stages[-1]) if stages else None
    if tax is None or math.isnan(tax.value):
        return None
    count, items = len(view.record.abilities), sum(r.items for r in view.record.abilities.values())
    low, high = number(tax.low), number(tax.high)
    of = f"{count} abilities" if count > 1 else next(iter(view.record.abilities))
    between = "" if math.isnan(tax.low) else f" [{low}, {high}]"
    return f"Alignment tax: general ability changed by {number(tax.value)}{between} points ({of}, {items} items)."


def ability_summary(view: RunView) -> dict[str, Any]:
    """Abilities, what was left out, and the tax, as plain JSON values."""
    stages = _stages(view)
    tax = alignment_tax(view.record.abilities, stages[-1]) if stages else interval_of(None, None)
    return {
        "abilities": {
            name: {
                "metric": record.metric,
                "items": record.items,
                "chance": record.chance,
                "chat_template": record.chat_template,
                "stages": {stage: _stage_summary(values) for stage, values in record.stages.items()},
            }
            for name, record in view.record.abilities.items()
        },
        "abilities_left_out": dict(view.record.abilities_left_out),
        "alignment_tax": None
        if math.isnan(tax.value)
        else {"stage": stages[-1], **{k: rounded(v) for k, v in tax._asdict().items()}},
    }


def _stage_summary(values: AbilityStage) -> dict[str, float | None]:
    change = interval_of(values.change, values.change_error)
    return {
        **{key: rounded(value) for key, value in values.model_dump().items()},
        "change_low": rounded(change.low),
        "change_high": rounded(change.high),
    }


def _stages(view: RunView) -> list[int]:
    """Those after which any ability was measured."""
    return sorted({int(stage) for record in view.record.abilities.values() for stage in record.stages})


def _tables_notes(view: RunView, last: int) -> list[str]:
    records: dict[str, AbilityRecord] = view.record.abilities
    reasons: dict[str, list[str]] = {}
    for name, reason in view.record.abilities_left_out.items():
        reasons.setdefault(reason, []).append(name)
    notes = [f"Left out: {', '.join(names)} ({reason})." for reason, names in reasons.items()]
    if last == 0:
        return [*notes, "Only the base model was measured so far: there is no change yet."]
    notes.insert(
        0,
        "± is one standard error over the items. change: last stage - stage 0, with its error over the same items "
        "(paired) and the normal interval; negative: ability was lost.",
    )
    if len(records) > 1:
        notes.insert(1, "The mean change is the alignment tax; its error takes the abilities as independent.")
    still = [name for name, record in records.items() if record.stages.get(str(last), _NOTHING).change_error == 0]
    if still:
        few = min(records[name].items for name in still)
        notes.append(
            f"±0.0: no item changed; of {few} items that is compatible with up to {number(300 / few)} % changing."
        )
    return notes


def _change_cells(change: Change) -> tuple[str, str]:
    if math.isnan(change.value):
        return DASH, DASH
    if math.isnan(change.low):
        return number(change.value), DASH
    return f"{number(change.value)} ±{number(change.standard_error)}", f"[{number(change.low)}, {number(change.high)}]"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None or error is None:
        return number(value)
    return f"{number(value)} ±{number(error)}"


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def response_grid(view: RunView, responses: StageResponses) -> Grid | None:
    """Length, emptiness and repetition of the responses after every stage; None where nothing was generated."""
    rows = []
    for task in view.tasks:
        first = math.nan
        for row in view.rows:
            said = list(responses.get(row.stage, {}).get(task, {}).values())
            if not said:
                continue
            words = float(np.mean([len(text.split()) for text in said]))
            first = words if math.isnan(first) else first
            repeated = [r for r in map(repetition, said) if not math.isnan(r)]
            rows.append(
                (
                    task,
                    row.label,
                    number(words),
                    number(words - first),
                    number(100 * float(np.mean([not text.strip() for text in said]))),
                    number(100 * float(np.mean(repeated))) if repeated else DASH,
                )
            )
    if not rows:
        return None
    return Grid(
        "Responses after every stage",
        ("task", "after stage", "words", "drift", "empty, %", "repeated, %"),
        tuple(rows),
        ("drift: words more than at first; repeated: share of a response's four-word runs that it has said before.",),
        labels=2,
    )

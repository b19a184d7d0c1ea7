"""docs/metric-vectors.json: its derivations, our functions, and a second way of computing each definition."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lifealign_bench.results.metrics import METRICS
from tests.documented import ROOT, blocks
from tests.places import SHARED

FILE = ROOT / "docs" / "metric-vectors.json"
PAGE = ROOT / "docs" / "metrics-definitions.md"
GOLDEN = SHARED / "golden" / "metrics.json"
Cell = float | None


class Part(BaseModel):
    """A part of the file: no field that the page does not name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Definition(Part):
    id: str = Field(pattern=r"^[a-z0-9.-]+/[a-z+-]+$")
    source: str
    name: str
    formula: str
    function: str | None


class Entry(Part):
    """A number with its derivation, or nothing with its reason."""

    definitions: list[str] = Field(min_length=1)
    value: float | None
    how: str | None = None
    why: str | None = None

    @model_validator(mode="after")
    def has_its_reason(self) -> Entry:
        if (self.value is None, self.value is not None) != (self.why is not None, self.how is not None):
            raise ValueError("a value has `how`, null has `why`")
        return self


class Missing(Exception):
    """A metric needs a cell that was not evaluated."""


class Vector(Part):
    name: str
    about: str
    scale: Literal["percent", "any"]
    base: list[Cell]
    scores: list[list[Cell]]
    single: list[Cell]
    union: list[Cell]
    values: list[Entry]

    @property
    def n(self) -> int:
        return len(self.scores)

    def r(self, stage: int, task: int) -> Fraction:
        return exact(self.scores[stage - 1][task - 1])

    def b(self, task: int) -> Fraction:
        return exact(self.base[task - 1])

    def value(self, definition: str) -> float | None:
        (found,) = (entry.value for entry in self.values if definition in entry.definitions)
        return found


class Vectors(Part):
    schema_: Literal["metric-vectors-1"] = Field(alias="schema")
    definitions: list[Definition]
    vectors: list[Vector]


VECTORS = Vectors.model_validate_json(FILE.read_bytes())
DEFINITIONS = {definition.id: definition for definition in VECTORS.definitions}
each_vector = pytest.mark.parametrize("vector", VECTORS.vectors, ids=lambda vector: vector.name)
Formula = Callable[[Vector], Fraction]


def exact(cell: Cell) -> Fraction:
    if cell is None:
        raise Missing
    return Fraction(str(cell))


def mean(values: Iterable[Fraction]) -> Fraction:
    """Raises ZeroDivisionError for nothing."""
    numbers = list(values)
    return sum(numbers, Fraction()) / len(numbers)


def upto(last: int, first: int = 1) -> range:
    """first..last, both included, as in formulas."""
    return range(first, last + 1)


def below_diagonal(v: Vector) -> list[tuple[int, int]]:
    return [(i, j) for i in upto(v.n) for j in upto(i - 1)]


def pairs(v: Vector) -> int:
    return v.n * (v.n - 1) // 2


def diaz_rodriguez_bwt(v: Vector) -> Fraction:
    return mean(v.r(i, j) - v.r(j, j) for i, j in below_diagonal(v))


def remembering(v: Vector) -> Fraction:
    if v.scale != "percent":
        raise Missing
    return 100 - abs(min(diaz_rodriguez_bwt(v), Fraction()))


def gem_bwt(v: Vector) -> Fraction:
    return mean(v.r(v.n, j) - v.r(j, j) for j in upto(v.n - 1))


def gem_fwt(v: Vector) -> Fraction:
    return mean(v.r(j - 1, j) - v.b(j) for j in upto(v.n, 2))


def accuracy(v: Vector) -> Fraction:
    return mean(v.r(v.n, j) for j in upto(v.n))


def avalanche_forgetting(v: Vector) -> Fraction:
    """As the plug-in goes: a task's first value is kept, its last is that of the current evaluation."""
    first: dict[int, Cell] = {}
    last: dict[int, Cell] = {}
    for stage in upto(v.n):
        last.clear()
        for task in upto(v.n):
            (first if task == stage else last)[task] = v.scores[stage - 1][task - 1]
    lost = [exact(first[task]) - exact(last[task]) for task in first if task in last]
    return mean(lost) if lost else Fraction()


def avalanche_fwt(v: Vector) -> Fraction:
    initial = dict(enumerate(v.base, start=1))
    previous: dict[int, Cell] = {}
    for stage in upto(v.n):
        for task in upto(v.n):
            if stage == task - 1:
                previous[task] = v.scores[stage - 1][task - 1]
    found = [exact(value) - exact(initial[task]) for task, value in previous.items()]
    return mean(found) if found else Fraction()


# Exact, in plain loops, from the sources and not from the package.
FORMULAS: dict[str, Formula] = {
    "lopez-paz-2017/acc": accuracy,
    "lopez-paz-2017/bwt": gem_bwt,
    "lopez-paz-2017/fwt": gem_fwt,
    "lopez-paz-2017-code/bwt": lambda v: mean(v.r(v.n, j) - v.r(j, j) for j in upto(v.n)),
    "lopez-paz-2017-code/fwt": lambda v: mean([Fraction(), *(v.r(j - 1, j) - v.b(j) for j in upto(v.n, 2))]),
    "chaudhry-2018/accuracy": accuracy,
    "chaudhry-2018/forgetting": lambda v: mean(
        max(v.r(stage, j) for stage in upto(v.n - 1)) - v.r(v.n, j) for j in upto(v.n - 1)
    ),
    "chaudhry-2018/intransigence": lambda v: exact(v.union[-1]) - v.r(v.n, v.n),
    "diaz-rodriguez-2018/a": lambda v: mean(v.r(i, j) for i in upto(v.n) for j in upto(i)),
    "diaz-rodriguez-2018/bwt": diaz_rodriguez_bwt,
    "diaz-rodriguez-2018/rem": remembering,
    "diaz-rodriguez-2018/bwt+": lambda v: max(diaz_rodriguez_bwt(v), Fraction()),
    "diaz-rodriguez-2018/fwt": lambda v: mean(v.r(i, j) for j, i in below_diagonal(v)),
    "li-2026/ap": lambda v: mean(mean(v.r(k, j) for j in upto(k)) for k in upto(v.n)),
    "li-2026/last": accuracy,
    "li-2026/bwt": gem_bwt,
    "li-2026-code/bwt": lambda v: gem_bwt(v) if v.n > 1 else Fraction(),
    "riemer-2019/la": lambda v: mean(v.r(j, j) for j in upto(v.n)),
    "avalanche-0.6/forgetting": avalanche_forgetting,
    "avalanche-0.6/bwt": lambda v: -avalanche_forgetting(v),
    "avalanche-0.6/fwt": avalanche_fwt,
    "lifealign-bench/forgetting": lambda v: mean(
        max(v.r(k, j) for k in upto(v.n - 1, j)) - v.r(v.n, j) for j in upto(v.n - 1)
    ),
    "lifealign-bench/gain": lambda v: mean(v.r(v.n, j) - v.b(j) for j in upto(v.n)),
    "lifealign-bench/intransigence": lambda v: mean(exact(v.single[j - 1]) - v.r(j, j) for j in upto(v.n)),
}


def holes_are_zero(v: Vector) -> Vector:
    return v.model_copy(update={"scores": [[cell or 0.0 for cell in row] for row in v.scores]})


def mean_of_the_rest(v: Vector) -> Fraction:
    """AP over the cells that are there."""
    rows = ([cell for cell in v.scores[k - 1][:k] if cell is not None] for k in upto(v.n))
    return mean(mean(map(exact, row)) for row in rows if row)


# What published code has got wrong, each by the definition that it says it computes. docs/metrics-definitions.md names
# where the ones of code that has been read come from.
MISTAKES: dict[str, tuple[str, Formula]] = {
    "BWT over N tasks": ("lopez-paz-2017/bwt", FORMULAS["lopez-paz-2017-code/bwt"]),
    "FWT over N tasks": ("lopez-paz-2017/fwt", FORMULAS["lopez-paz-2017-code/fwt"]),
    "FWT without the untrained model": ("lopez-paz-2017/fwt", lambda v: mean(v.r(j - 1, j) for j in upto(v.n, 2))),
    "0 for one task": ("lopez-paz-2017/bwt", FORMULAS["li-2026-code/bwt"]),
    "forgetting as minus BWT": ("chaudhry-2018/forgetting", avalanche_forgetting),
    "forgetting over N tasks": (
        "chaudhry-2018/forgetting",
        lambda v: FORMULAS["chaudhry-2018/forgetting"](v) * (v.n - 1) / v.n,
    ),
    "forgetting without the last earlier task": (
        "chaudhry-2018/forgetting",
        lambda v: (
            sum((max(v.r(k, j) for k in upto(v.n - 2, j)) - v.r(v.n, j) for j in upto(v.n - 2)), Fraction()) / (v.n - 1)
        ),
    ),
    "a maximum that sees the base model": (
        "lifealign-bench/forgetting",
        lambda v: mean(max(v.b(j), *(v.r(k, j) for k in upto(v.n - 1, j))) - v.r(v.n, j) for j in upto(v.n - 1)),
    ),
    "a maximum that sees the last stage": (
        "lifealign-bench/forgetting",
        lambda v: mean(max(v.r(k, j) for k in upto(v.n, j)) - v.r(v.n, j) for j in upto(v.n - 1)),
    ),
    "a maximum that sees stages before the task's own": (
        "lifealign-bench/forgetting",
        FORMULAS["chaudhry-2018/forgetting"],
    ),
    "BWT without the task just before": (
        "diaz-rodriguez-2018/bwt",
        lambda v: (
            sum((v.r(i, j) - v.r(j, j) for i in upto(v.n) for j in upto(i - 2)), Fraction()) * 2 / (v.n * (v.n - 1))
        ),
    ),
    "BWT with tasks not yet trained": (
        "diaz-rodriguez-2018/bwt",
        lambda v: (
            sum((v.r(i, j) - v.r(j, j) for i in upto(v.n, 2) for j in upto(v.n - 1)), Fraction())
            * 2
            / (v.n * (v.n - 1))
        ),
    ),
    "FWT below the diagonal": ("diaz-rodriguez-2018/fwt", lambda v: mean(v.r(i, j) for i, j in below_diagonal(v))),
    "REM and BWT+ exchanged": ("diaz-rodriguez-2018/rem", FORMULAS["diaz-rodriguez-2018/bwt+"]),
    "AP as the mean of all cells": ("li-2026/ap", FORMULAS["diaz-rodriguez-2018/a"]),
    "holes are 0": ("li-2026/ap", lambda v: FORMULAS["li-2026/ap"](holes_are_zero(v))),
    "the mean over what is there": ("li-2026/ap", mean_of_the_rest),
    "intransigence against the wrong model": ("lifealign-bench/intransigence", FORMULAS["chaudhry-2018/intransigence"]),
}


def computed(formula: Formula, vector: Vector) -> float | None:
    try:
        return float(formula(vector))
    except (Missing, ZeroDivisionError):
        return None


def same(a: float | None, b: float | None) -> bool:
    return a == b if a is None or b is None else a == pytest.approx(b, abs=1e-9)


OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Div: operator.truediv,
}
FUNCTIONS: dict[str, Callable[..., Fraction]] = {"max": max, "min": min, "abs": abs}


def arithmetic(text: str) -> Fraction:
    """The value of a derivation: numbers, + - /, brackets, max, min and abs, nothing else."""

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(int() | float() as number):
                return Fraction(str(number))
            case ast.UnaryOp(ast.USub(), operand):
                return -value(operand)
            case ast.BinOp(left, sign, right):
                return OPERATORS[type(sign)](value(left), value(right))
            case ast.Call(ast.Name(name), arguments):
                return FUNCTIONS[name](*map(value, arguments))
        raise ValueError(f"no arithmetic: {ast.dump(node)}")

    return value(ast.parse(text, mode="eval").body)


@each_vector
def test_a_vector_is_whole(vector: Vector) -> None:
    rows = (vector.base, *vector.scores, vector.single, vector.union)
    assert {len(row) for row in rows} == {vector.n}
    assert sorted(i for entry in vector.values for i in entry.definitions) == sorted(DEFINITIONS)


@each_vector
def test_the_derivations_give_the_values(vector: Vector) -> None:
    for entry in vector.values:
        if entry.how is not None:
            assert float(arithmetic(entry.how)) == entry.value, entry.definitions


@each_vector
def test_a_missing_cell_is_named_and_missing(vector: Vector) -> None:
    """What `why` names of cells is not there, and nothing is undefined for another reason than the three."""
    beside: dict[str, list[Cell]] = {"b": vector.base, "S": vector.single, "U": vector.union}
    for why in (entry.why for entry in vector.values if entry.why is not None):
        for stage, task in re.findall(r"R\[(\d),(\d)\]", why):
            assert vector.scores[int(stage) - 1][int(task) - 1] is None, why
        for name, task in re.findall(r"\b([bSU])(?:\[(\d)\])?", why.replace("R[", "")):
            assert set(beside[name] if not task else [beside[name][int(task) - 1]]) == {None}, why
        if why == "no stages 1 and 2":
            assert {cell for row in vector.scores[:2] for cell in row} == {None}
        assert why.startswith(("no ", "the mean over no ")) or vector.scale == "any", why


@each_vector
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_second_way_of_computing_gives_the_values(vector: Vector, definition: str) -> None:
    assert same(computed(FORMULAS[definition], vector), vector.value(definition))


@each_vector
def test_our_functions_give_the_values(vector: Vector) -> None:
    stages = np.array([vector.base, *vector.scores], dtype=np.float64)
    for definition in VECTORS.definitions:
        if definition.function is not None:
            info = METRICS[definition.function]
            arguments = (stages, np.array(vector.single, dtype=np.float64)) if info.needs_single else (stages,)
            found = info.function(*arguments)
            assert same(None if np.isnan(found) else found, vector.value(definition.id)), definition.id


def test_every_function_of_ours_is_a_definition() -> None:
    assert {definition.function for definition in VECTORS.definitions} == {*METRICS, None}
    assert list(FORMULAS) == list(DEFINITIONS)


def test_definitions_that_differ_are_told_apart() -> None:
    groups = [{i: entry.definitions for entry in v.values for i in entry.definitions} for v in VECTORS.vectors]
    for one, other in combinations(DEFINITIONS, 2):
        always_together = all(other in group[one] for group in groups)
        assert always_together == all(same(v.value(one), v.value(other)) for v in VECTORS.vectors), (one, other)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_vectors_find_a_mistake(mistake: str) -> None:
    """By a number that is another one; what makes numbers of nothing, by a number where there is none."""
    definition, formula = MISTAKES[mistake]
    found = [(computed(formula, v), v.value(definition)) for v in VECTORS.vectors]
    if mistake in {"0 for one task", "holes are 0", "the mean over what is there"}:
        assert any(wrong is not None and right is None for wrong, right in found)
    else:
        assert any(None not in (wrong, right) and not same(wrong, right) for wrong, right in found)


@pytest.mark.skipif(not GOLDEN.is_file(), reason=f"the published code's numbers are not at {GOLDEN}")
def test_the_definitions_of_the_published_code_give_its_numbers() -> None:
    for case in json.loads(GOLDEN.read_text(encoding="utf-8")):
        n = len(case["scores"])
        empty: dict[str, Any] = {"name": "", "about": "", "scale": "percent", "values": []}
        for k in upto(n):
            nothing: list[Cell] = [None] * k
            seen = [row[:k] for row in case["scores"][:k]]
            vector = Vector(base=nothing, scores=seen, single=nothing, union=nothing, **empty)
            for definition, name in (
                ("li-2026/last", "last"),
                ("li-2026/ap", "ap"),
                ("li-2026-code/bwt", "bwt"),
            ):
                # Rounded to two decimals, of a number that was itself a mean of such numbers.
                assert FORMULAS[definition](vector) == pytest.approx(case[f"{name}_per_stage"][k - 1], abs=0.00501)


def test_the_page_has_every_definition_and_says_which_are_ours() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `([a-z0-9.-]+/[a-z+-]+)` \|(.*)\|$", text, flags=re.MULTILINE))
    assert list(shown) == list(DEFINITIONS)
    for i, rest in shown.items():
        ours = DEFINITIONS[i].function
        assert re.findall(r"`(\w+)`", rest.split("|")[-1]) == ([] if ours is None else [ours]), i
    fields = {*Vectors.model_fields, *Definition.model_fields, *Vector.model_fields, *Entry.model_fields} - {"schema_"}
    assert {*re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)} == {*fields, "schema"}


def test_the_pages_example_passes_and_finds_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (text for _, language, text in blocks(PAGE) if language == "python")
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(code, PAGE.name, "exec"), names)
    wrong = code.replace("/ (n - 1)", "/ n")
    assert wrong != code
    with pytest.raises(AssertionError, match="three tasks"):
        exec(compile(wrong, PAGE.name, "exec"), names)

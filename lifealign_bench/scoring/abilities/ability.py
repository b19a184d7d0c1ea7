"""One test of general ability: tasks of lm-eval, the metric that is kept of each item, and what they ask, as a hash."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Draws a task's worked examples, the same ones at every stage; lm-eval's own number.
SEED = 1234

# Shares of items that are right, the one that is kept first.
_METRICS = ("acc_norm", "acc", "exact_match", "em", "acc_bytes", "prompt_level_strict_acc")


class CannotBeHad(Exception):
    """An ability cannot be measured here.

    Args:
        reason: in words that hold no text of others, for the record.
        detail: more of it, for the user.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Ability:
    """A test of general ability.

    Args:
        name: as tables show it.
        tasks: of lm-eval, with their data.
        metric: the value that is kept of an item: 0 or 1, or a share.
        ids: of the items, in the order of the values.
        chance: what guessing gives, between 0 and 1; None where it is not known.
        digest: SHA-256 (hex) of all that is asked and of the metric.
        characters: of all that is asked, to estimate the work by.
        trusted: whether code that its definition names may be run.
    """

    name: str
    tasks: tuple[Any, ...]
    metric: str
    ids: tuple[str, ...]
    chance: float | None
    digest: str
    characters: int
    trusted: bool = False


@dataclass(frozen=True)
class Abilities:
    """The tests of a run.

    Args:
        left_out: name to the reason of those that were asked for and cannot be had.
        every_stage: whether they are measured after every stage, or before the first and after the last alone.
    """

    tests: tuple[Ability, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    every_stage: bool = False

    def due(self, stage: int, last: int) -> bool:
        """Whether they are measured after ``stage`` of ``last`` training stages; 0 is the base model."""
        return bool(self.tests) and (self.every_stage or stage in (0, last))


def make_ability(name: str, tasks: Sequence[Any], trusted: bool = False) -> Ability:
    """The ability that loaded tasks make up; builds their requests once.

    Raises:
        CannotBeHad: they ask for what is not measured here.
    """
    metrics = {_metric(task) for task in tasks}
    if len(metrics) != 1:
        raise CannotBeHad("its tasks have different metrics", ", ".join(sorted(metrics)))
    (metric,) = metrics
    ids: list[str] = []
    guesses: list[float | None] = []
    sha = hashlib.sha256(json.dumps([metric, SEED]).encode())
    characters = 0
    for task in tasks:
        settle(task)
        task.build_all_requests()
        sha.update(_scoring(task).encode("utf-8", "surrogatepass"))
        asked: dict[int, list[Any]] = {}
        for instance in task.instances:
            asked.setdefault(int(instance.doc_id), []).append(instance)
        for number, instances in asked.items():
            ids.append(str(number) if len(tasks) == 1 else f"{task.task_name}/{number}")
            arguments = [instance.args for instance in instances]
            target = task.doc_to_target(instances[0].doc)
            content = json.dumps([task.task_name, arguments, target], default=str, ensure_ascii=False)
            sha.update(content.encode("utf-8", "surrogatepass"))
            characters += len(str(arguments[0][0])) + sum(len(str(a[-1])) for a in arguments)
            guesses.append(_chance(task, len(instances)))
    known = [g for g in guesses if g is not None]
    chance = sum(known) / len(known) if known and len(known) == len(guesses) else None
    return Ability(name, tuple(tasks), metric, tuple(ids), chance, sha.hexdigest(), characters, trusted)


def settle(task: Any) -> None:
    """Set what lm-eval would otherwise set anew at random or leave open."""
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEED)


def _metric(task: Any) -> str:
    """The metric that is kept of each item.

    Raises:
        CannotBeHad: none is a share of items, or the task asks for more than one greedy answer to a text.
    """
    kind = task.get_config("output_type")
    if kind not in ("multiple_choice", "loglikelihood", "generate_until"):
        raise CannotBeHad(f"it measures {kind}, which is no share of items")
    if getattr(task, "MULTIMODAL", False):
        raise CannotBeHad("it shows pictures or sounds")
    if getattr(task, "UNSAFE_CODE", False):
        raise CannotBeHad("it runs what the model writes")
    sampling = task.get_config("generation_kwargs") or {}
    if kind == "generate_until" and (sampling.get("do_sample") or (task.get_config("repeats") or 1) > 1):
        raise CannotBeHad("it samples its answers, and only greedy ones are given here")
    found = next((name for name in _METRICS if _aggregation(task, name) == "mean"), None)
    if found is None:
        raise CannotBeHad("it has no metric that is a share of items")
    return found


def _aggregation(task: Any, metric: str) -> str:
    """How a task makes one number of the items' values, by name; empty where it does not have the metric."""
    how = task.aggregation().get(metric)
    return how if isinstance(how, str) else getattr(how, "__name__", "")


def _scoring(task: Any) -> str:
    """How answers are judged, code included."""
    config = task.dump_config()  # functions as their source
    how = ("output_type", "metric_list", "filter_list", "process_results", "generation_kwargs", "repeats")
    return json.dumps({key: config.get(key) for key in how}, sort_keys=True, default=str)


def _chance(task: Any, requests: int) -> float | None:
    plain = task.get_config("process_results") is None and "acc_mutual_info" not in task.aggregation()
    return 1 / requests if plain and task.get_config("output_type") == "multiple_choice" else None


_METRIC = "it asks for a metric that is code of others (--trust-remote-code allows it)"

_PATIENCE = 8.0  # seconds


@contextmanager
def quiet_and_safe(trusted: bool) -> Iterator[None]:
    """Within, lm-eval draws no bars and writes no log, and templates cannot reach Python's inner parts.

    lm-eval renders a task's Jinja templates with full access to Python: a YAML file or a row of data could run code.
    A metric that it does not know it takes from the library ``evaluate``, which runs a file of that name or one of the
    hub; so do some of its own tasks. It also draws from the global random generators, even to tell a task's name; they
    are put back.

    Args:
        trusted: whether such metrics may be run.

    Raises:
        CannotBeHad: from within, where a task asks for such a metric and may not have it.
    """
    import datasets
    import lm_eval.api.task
    import lm_eval.utils
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval.api.registry import metric_registry

    plain = lm_eval.utils.env
    sandbox = SandboxedEnvironment(
        loader=plain.loader, undefined=plain.undefined, keep_trailing_newline=plain.keep_trailing_newline
    )
    sandbox.filters.update(plain.filters)

    find_metric = lm_eval.api.task.get_metric

    def metric(name: str, hf_evaluate_metric: bool = False) -> Any:
        # lm-eval would go on without a metric that it does not find, and fail at the first answer.
        if not trusted and (hf_evaluate_metric or name not in metric_registry):
            raise CannotBeHad(_METRIC)
        found = find_metric(name, hf_evaluate_metric)
        if found is None:
            raise CannotBeHad("it asks for a metric that cannot be found", str(name)[:80])
        return found

    def no_bar(items: Any, **_: Any) -> Any:
        return items

    with ExitStack() as stack:
        if "evaluate" in sys.modules:  # its import takes seconds
            stack.enter_context(no_foreign_metrics(trusted))
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        for place, name, value in (
            (lm_eval.utils, "env", sandbox),
            (lm_eval.api.task, "tqdm", no_bar),
            (lm_eval.api.task, "get_metric", metric),
        ):
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, value)
        for logger in (logging.getLogger("lm_eval"), logging.getLogger("datasets")):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        if datasets.is_progress_bar_enabled():
            stack.callback(datasets.enable_progress_bars)
            datasets.disable_progress_bars()
        yield


@contextmanager
def no_foreign_metrics(trusted: bool) -> Iterator[None]:
    """Within, tasks that come with lm-eval load no metric of the library ``evaluate``, unless it is trusted.

    Raises:
        CannotBeHad: from within, where a task asks for one.
    """
    import evaluate

    def none(*_: Any, **__: Any) -> Any:
        raise CannotBeHad(_METRIC)

    before = evaluate.load
    if not trusted:
        evaluate.load = none
    try:
        yield
    finally:
        evaluate.load = before


def why_no_hub() -> str | None:
    """Asks the hub once; None where it answers, else the reason in words that hold no address."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return "the hub is switched off (HF_HUB_OFFLINE)"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:  # noqa: BLE001 - the transport may be any library, each with errors of its own
        return f"the hub does not answer ({type(error).__name__})"
    return None


@contextmanager
def offline() -> Iterator[None]:
    """Within, data sets come from the local cache or fail at once, instead of after many tries."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before

"""What must hold while lm-eval's code runs: quiet, sandboxed templates, randomness untouched, no long waiting."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from lifealign_bench.abilities.ability import CannotBeHad

__all__ = ["no_foreign_metrics", "offline", "quiet_and_safe", "why_no_hub"]

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

"""What the YAML task of somebody else may name: words that lm-eval knows by itself, and data.

lm-eval looks names up in more places than its own tables: a metric that it does not know is looked for on the disk and
on the hub and run as Python, and so are some filters, samplers and ways to load data. So nothing is allowed but what is
listed here or stands in lm-eval's own tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Readers of the datasets library that parse plain data; others read pickles, archives and programs' own formats.
BUILDERS = ("json", "csv", "parquet", "text")
OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until")
SAMPLERS = ("default", "first_n")
# They take a function, or a file of any kind.
_FILTERS_WITH_CODE = ("custom", "decontaminate")
_KEYS = frozenset(
    [
        "task",
        "task_alias",
        "tag",
        "group",
        "dataset_path",
        "dataset_name",
        "dataset_kwargs",
        "training_split",
        "validation_split",
        "test_split",
        "fewshot_split",
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "description",
        "target_delimiter",
        "fewshot_delimiter",
        "fewshot_config",
        "num_fewshot",
        "metric_list",
        "output_type",
        "generation_kwargs",
        "repeats",
        "filter_list",
        "should_decontaminate",
        "doc_to_decontamination_query",
        "gen_prefix",
        "metadata",
    ]
)
_FEWSHOT_KEYS = frozenset(
    [
        "sampler",
        "split",
        "fewshot_indices",
        "samples",
        "doc_to_text",
        "doc_to_choice",
        "doc_to_target",
        "gen_prefix",
        "fewshot_delimiter",
        "target_delimiter",
    ]
)
# Of what is given on to the reader of the data; others name classes, file systems and functions.
_DATA_KEYS = frozenset(
    [
        "data_files",
        "data_dir",
        "revision",
        "field",
        "sep",
        "delimiter",
        "quotechar",
        "encoding",
        "column_names",
        "names",
        "keep_linebreaks",
        "sample_by",
    ]
)
_SCHEMES = ("http", "https", "hf")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")


def why_not_allowed(content: Mapping[str, Any]) -> str | None:
    """The first thing in a task that could run code, in words; None where there is none.

    Args:
        content: the task with all that it includes.
    """
    return next(_found(content), None)


def _found(content: Mapping[str, Any]) -> Iterator[str]:
    import lm_eval.api.metrics
    import lm_eval.filters  # noqa: F401 - fills the table of filters
    from lm_eval.api.registry import aggregation_registry, filter_registry, metric_registry

    yield from (f"the key {key!r}" for key in content if key not in _KEYS and content[key] not in (None, False))
    yield from _unlisted("output_type", content.get("output_type"), OUTPUT_TYPES)
    yield from _data(content)
    metrics = _mappings(content.get("metric_list"))
    for metric in metrics:
        if metric.get("hf_evaluate"):
            yield f"hf_evaluate (the metric {metric.get('metric')!r})"
        yield from _unlisted("metric", metric.get("metric"), metric_registry)
        yield from _unlisted("aggregation", metric.get("aggregation"), aggregation_registry)
    filters = [name for name in filter_registry if name not in _FILTERS_WITH_CODE]
    steps = [step for several in _mappings(content.get("filter_list")) for step in _mappings(several.get("filter"))]
    for step in steps:
        yield from _unlisted("filter", step.get("function"), filters)
    fewshot = _mappings(content.get("fewshot_config"))
    for config in fewshot:
        yield from (f"the key {key!r} of fewshot_config" for key in config if key not in _FEWSHOT_KEYS)
        yield from _unlisted("sampler", config.get("sampler"), SAMPLERS)


def _unlisted(what: str, name: Any, known: Any) -> Iterator[str]:
    if name is not None and not (isinstance(name, str) and name in known):
        yield f"the {what} {name!r}, which is not lm-eval's own"


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list, or the one that stands alone; lm-eval itself fails at anything else."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]


def _data(content: Mapping[str, Any]) -> Iterator[str]:
    path = content.get("dataset_path")
    if path is not None and path not in BUILDERS:
        packaged = _packaged()
        if not isinstance(path, str) or not _HUB.fullmatch(path) or path in packaged or path.endswith(".py"):
            yield f"the dataset_path {path!r}, which is neither {', '.join(BUILDERS)} nor a data set of the hub"
    kwargs = content.get("dataset_kwargs")
    if kwargs is None:
        return
    if not isinstance(kwargs, Mapping):
        yield "dataset_kwargs that are no mapping"
        return
    yield from (f"the key {key!r} of dataset_kwargs" for key in kwargs if key not in _DATA_KEYS)
    for text in _texts([kwargs.get("data_files"), kwargs.get("data_dir")]):
        schemes = re.findall(r"([^/]*?)(?:://|::)", text)
        yield from (f"the address {text!r}" for scheme in schemes if scheme not in _SCHEMES)


def _packaged() -> frozenset[str]:
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    return frozenset(_PACKAGED_DATASETS_MODULES)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value

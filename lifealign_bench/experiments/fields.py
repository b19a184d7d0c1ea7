"""One setting given as text: read as YAML, checked against its field, and every mistake in plain words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lifealign_bench.errors import UsageError
from lifealign_bench.util.yamlbounds import check_bounds

_NOUNS = {"integer": "an integer", "number": "a number", "string": "a text", "boolean": "true or false"}


def parse_value(model: type[BaseModel], field: str, text: str) -> Any:
    """The value of ``field`` of ``model`` that ``text`` stands for.

    Raises:
        UsageError: it is no value of that field; says what is expected.
    """
    return _first_fit(model, field, text, _readings(text) if text.strip() else [])


def check_value(model: type[BaseModel], field: str, value: Any) -> Any:
    """The value of ``field`` of ``model`` that ``value``, read from a file, stands for; a text is read as on a command
    line, since YAML takes ``5e-6`` for one.

    Raises:
        UsageError: it is no value of that field; says what is expected.
    """
    if isinstance(value, str):
        return parse_value(model, field, value)
    return _first_fit(model, field, value, [value])


def _first_fit(model: type[BaseModel], field: str, given: Any, candidates: Sequence[Any]) -> Any:
    info = model.model_fields[field]
    adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation(), config=_config(model))
    for candidate in candidates:
        # pydantic takes true for 1; who writes a number as "yes" has made a mistake.
        if isinstance(candidate, bool) and not _accepts(adapter, candidate, strict=True):
            continue
        if isinstance(candidate, float) and not math.isfinite(candidate):
            continue
        try:
            value = adapter.validate_python(candidate)
        except ValidationError:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            continue
        return value
    raise UsageError(f"{field} must be {expectation(model, field)}, got {_shown(given)}.", _remedy(field, info))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def expectation(model: type[BaseModel], field: str) -> str:
    """What values a field takes, e.g. ``an integer >= 1``."""
    try:
        schema = model.model_json_schema()
    except Exception:  # noqa: BLE001 - a plug-in's exotic type has no JSON schema; its name must do
        return f"a value of type {model.model_fields[field].annotation}"
    return _describe(schema["properties"][field], schema.get("$defs", {}))


def _config(model: type[BaseModel]) -> Any:
    """A field that is itself a model or dataclass brings its own configuration and may get none."""
    allowed = model.model_config.get("arbitrary_types_allowed")
    return {"arbitrary_types_allowed": True} if allowed else None


def _readings(text: str) -> list[Any]:
    """What ``text`` may mean, likeliest first: YAML, a list separated by commas, nothing, the text itself."""
    readings: list[Any] = []
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        check_bounds(text)
        readings.append(yaml.safe_load(text))
    if text.strip().lower() in {"none", "null"}:
        readings.insert(0, None)
    readings.append(text.strip())
    readings.append([part.strip() for part in text.split(",")])
    return readings


def _accepts(adapter: TypeAdapter[Any], value: Any, *, strict: bool) -> bool:
    try:
        adapter.validate_python(value, strict=strict)
    except ValidationError:
        return False
    return True


def _describe(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _describe(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    if "anyOf" in schema:
        parts = [_describe(part, definitions) for part in schema["anyOf"]]
        return " or ".join(dict.fromkeys(parts))
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "another value"))
    if kind == "null":
        return "none"
    if kind == "array":
        items = schema.get("items")
        inner = _describe(items, definitions) if isinstance(items, dict) else "a value"
        return f"a list separated by commas, each {inner}"
    return " ".join([_NOUNS.get(kind, f"a value of type {kind}"), *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> list[str]:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    found = [f"{sign} {_plain(schema[key])}" for key, sign in signs.items() if key in schema]
    return [" and ".join(found)] if found else []


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _remedy(field: str, info: FieldInfo) -> str:
    return f"{field} is: {info.description}." if info.description else ""

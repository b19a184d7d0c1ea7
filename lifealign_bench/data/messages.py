"""One message of a conversation in any of the forms that public data has: OpenAI's, with parts, ShareGPT's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lifealign_bench.pairs import Message

MISSING = "missing or null field"
NOT_TEXT = "field is not text or a list of messages"
NOT_UNICODE = "text is not valid Unicode"
TOOLS = "conversation with tool calls, which are no text"

# A field of each form: who speaks, and what is said.
_FORMS = (("role", "content"), ("from", "value"), ("role", "value"), ("from", "content"))
_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}
_TOOL_ROLES = ("tool", "function", "function_call", "function_response", "observation", "tool_call", "tool_response")
_TOOL_FIELDS = ("tool_calls", "function_call", "tool_call_id")
_TEXT_PARTS = ("text", "input_text", "output_text")
_SHOWN = 20


class Unusable(Exception):
    """A row that no pair can be made of; the argument is the reason."""


def read_message(item: Any) -> Message:
    """The message that ``item`` holds.

    Raises:
        Unusable: it is none, or holds what is no text; with the reason.
    """
    if not isinstance(item, Mapping):
        raise Unusable(NOT_TEXT)
    form = next(((who, what) for who, what in _FORMS if who in item and what in item), None)
    if any(item.get(field) for field in _TOOL_FIELDS):
        raise Unusable(TOOLS)
    if form is None:
        raise Unusable(MISSING if {"role", "content", "from", "value"} & item.keys() else NOT_TEXT)
    said, content = item[form[0]], item[form[1]]
    if said is None or content is None:
        raise Unusable(MISSING)
    if not isinstance(said, str):
        raise Unusable(NOT_TEXT)
    if said in _TOOL_ROLES:
        raise Unusable(TOOLS)
    if said.lower() not in _ROLES:
        raise Unusable(f"message of an unknown role ({_word(said)})")
    text = _text(content)
    refuse_surrogates(text)
    return Message(_ROLES[said.lower()], text)


def refuse_surrogates(text: str) -> None:
    """Half a surrogate pair, as JSON can hold it, would fail in the tokenizer.

    Raises:
        Unusable: there is one.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unusable(NOT_UNICODE) from error


def _text(content: Any) -> str:
    """The text of a message's content: itself, or that of its parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list | tuple):
        raise Unusable(NOT_TEXT)
    return "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise Unusable(NOT_TEXT)
    kind = part.get("type", "text")
    if kind not in _TEXT_PARTS:
        raise Unusable(f"message with a part that is no text ({_word(kind)})")
    text = part.get("text")
    if not isinstance(text, str):
        raise Unusable(MISSING if text is None else NOT_TEXT)
    return text


def _word(value: Any) -> str:
    """A word of the data for a reason: short, and plain enough that there are few different ones."""
    text = "".join(c for c in str(value) if c.isalnum() or c in "_-")[:_SHOWN]
    return text or "without a name"

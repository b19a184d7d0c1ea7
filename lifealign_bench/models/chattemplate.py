"""A model's chat template: dialogues as token ids at a run's clock, and what of them the template does not keep.

Templates come with models and are programs; what goes wrong in one is told as the template's, and what one does to
dialogues beyond laying them out is said before anything is trained.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import jinja2
from jinja2 import nodes
from jinja2.ext import loopcontrols
from transformers import PreTrainedTokenizerBase

from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message
from lifealign_bench.util.clock import Clock

_ANOTHER = "Use a copy of the model with another chat_template, or another model."
# Beginnings of answers that tokenizers join with what stands before them, each in its way. White space is not among
# them: many tokenizers join it with the line break that asks for an answer, and hardly an answer begins with it.
_BEGINNINGS = (*string.ascii_letters, *string.digits, *string.punctuation, "é", "中", "👍")
_PERCENT = "\ue0ff"  # stands for a percent sign that is one; of no language
Turn = Mapping[str, str]
# What was found of a tokenizer by its template, special tokens and clock: every split of every task asks.
_UNSETTLED: WeakKeyDictionary[PreTrainedTokenizerBase, dict[tuple[str, str, Clock | None], int]] = WeakKeyDictionary()


class TemplateRefusal(BenchError):
    """The template does not lay out this dialogue, or fails in it; ``reason`` is its own word for it."""

    def __init__(self, message: str, remedy: str, reason: str) -> None:
        super().__init__(message, remedy)
        self.reason = reason


def turns_of(messages: Sequence[Message], answer: str | None = None) -> list[Turn]:
    """Messages, with an answer at their end if there is one, as templates take them."""
    last = [] if answer is None else [{"role": "assistant", "content": answer}]
    return [*({"role": m.role, "content": m.content} for m in messages), *last]


def dialogue_ids(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], clock: Clock | None, *, ask: bool = False
) -> list[int]:
    """Token ids of a dialogue.

    Args:
        clock: what the template takes for now; None: the present moment.
        ask: the dialogue asks for an answer.

    Raises:
        TemplateRefusal: the template does not take the dialogue; with its own reason.
    """
    return list(_apply(tokenizer, turns, clock, ask, tokenize=True)["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], clock: Clock | None, *, ask: bool = False) -> str:
    return str(_apply(tokenizer, turns, clock, ask, tokenize=False))


def _apply(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], clock: Clock | None, ask: bool, *, tokenize: bool
) -> Any:
    more: dict[str, Any] = {}
    if reads_clock(tokenizer):
        more["chat_template"] = _at(_source(tokenizer), clock or Clock.now())
    try:
        return tokenizer.apply_chat_template(list(turns), add_generation_prompt=ask, tokenize=tokenize, **more)
    except Exception as error:  # a foreign program: it may fail in any way
        raise _refusal(tokenizer, turns, error) from error


def _refusal(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], error: Exception) -> TemplateRefusal:
    shown = ", ".join(turn["role"] for turn in turns[:6]) + (", ..." if len(turns) > 6 else "")
    return TemplateRefusal(
        f"The chat template of {_name(tokenizer)} does not take a dialogue with the turns {shown}: {_first(error)}.",
        f"{_ANOTHER} Tasks without such turns can be run with it.",
        _first(error),
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.name_or_path) or "the model"


def _first(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")[:300]
    return (
        text if isinstance(error, jinja2.TemplateError | ValueError | TypeError) else f"{type(error).__name__}: {text}"
    )


def _source(tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of the template that dialogues are laid out by; empty where the tokenizer is no template's.

    Raises:
        BenchError: there are several, and none of them is the default.
    """
    try:
        source = tokenizer.get_chat_template()
    except ValueError as error:
        names = sorted(tokenizer.chat_template) if isinstance(tokenizer.chat_template, dict) else []
        raise BenchError(
            f"{_name(tokenizer)} has several chat templates ({', '.join(map(str, names))}) and none called default."
            if names
            else f"The chat template of {_name(tokenizer)} cannot be had: {_first(error)}.",
            "Keep the one that is meant, called default, in a copy of the model, and give --model that folder.",
        ) from error
    except (AttributeError, NotImplementedError):  # tokenizers that lay out dialogues in code of their own
        return ""
    return source if isinstance(source, str) else ""


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a template that cannot be used at all.

    Raises:
        BenchError: several without a default, no Jinja, another text every time, or one that takes not even a question.
    """
    source = _source(tokenizer)
    if source:
        try:
            names = _names(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise BenchError(
                f"The chat template of {_name(tokenizer)} is no template: {_first(error)}"
                f"{f' (line {error.lineno})' if isinstance(error, jinja2.TemplateSyntaxError) else ''}.",
                _ANOTHER,
            ) from error
        if chance := names & {"random", "lipsum"}:
            raise BenchError(
                f"The chat template of {_name(tokenizer)} writes something else every time ({', '.join(chance)}): "
                "no run with it could be continued or reproduced.",
                _ANOTHER,
            )
    try:
        ids = dialogue_ids(tokenizer, [{"role": "user", "content": "hello"}], None, ask=True)
    except TemplateRefusal as error:
        raise BenchError(error.message, _ANOTHER) from error
    if not ids:
        raise BenchError(f"The chat template of {_name(tokenizer)} makes no text of a question.", _ANOTHER)


def reads_clock(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the template asks what time it is."""
    source = _source(tokenizer)
    return "strftime_now" in source and "strftime_now" in _names(source)


@lru_cache(maxsize=16)
def _names(source: str) -> frozenset[str]:
    """The variables and filters that a template names.

    Raises:
        jinja2.TemplateError: it is no template.
    """
    environment = jinja2.Environment(extensions=[_Generation, loopcontrols])  # parsed, never rendered
    tree = environment.parse(source)
    found = {node.name for node in tree.find_all(nodes.Name)} | {node.name for node in tree.find_all(nodes.Filter)}
    return frozenset(found)


class _Generation(jinja2.ext.Extension):
    """The tag by which transformers' templates mark what an assistant said."""

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Any) -> nodes.Node:
        """Only the block's content."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


@lru_cache(maxsize=16)
def _at(source: str, clock: Clock) -> str:
    """The template with a clock that stands still: a macro of the name that it calls.

    Functions cannot be given to a template, and its own one reads the machine's clock, zone and language.
    """
    steps = [f"replace('%%', '{_PERCENT}')"]
    # A longer directive first: %-d is not %d.
    for directive, value in sorted(clock.directives().items(), key=lambda item: (-len(item[0]), item[0])):
        steps.append(f"replace('{directive}', {value!r})")
    steps.append(f"replace('{_PERCENT}', '%')")
    # The line break after the macro is taken away with it, so that the template begins at the beginning of a line.
    return f"{{% macro strftime_now(format) %}}{{{{ format | {' | '.join(steps)} }}}}{{% endmacro %}}\n{source}"


def unsettled(tokenizer: PreTrainedTokenizerBase, clock: Clock | None) -> int:
    """How many of the last tokens of a prompt become others, or none, by what an answer begins with.

    They are no part of any prompt then: what a model is asked must not tell how it is to answer. It takes a hundred
    dialogues to find, once for a tokenizer, its template and its clock.
    """
    moment = (clock or Clock.now()) if reads_clock(tokenizer) else None
    known = _UNSETTLED.setdefault(tokenizer, {})
    key = (_source(tokenizer), str(tokenizer.special_tokens_map), moment)
    if key not in known:
        known[key] = _find_unsettled(tokenizer, moment)
    return known[key]


def _find_unsettled(tokenizer: PreTrainedTokenizerBase, clock: Clock | None) -> int:
    question = [{"role": "user", "content": "hello"}]
    prompt = dialogue_ids(tokenizer, question, clock, ask=True)
    most = 0
    for beginning in _BEGINNINGS:
        answer = {"role": "assistant", "content": f"{beginning}b"}
        try:
            full = dialogue_ids(tokenizer, [*question, answer], clock)
        except TemplateRefusal:
            continue  # where a pair has such an answer, it says so
        same = next(
            (i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), min(len(prompt), len(full))
        )
        most = max(most, len(prompt) - same)
    return min(most, len(prompt) - 1)


def lost_roles(tokenizer: PreTrainedTokenizerBase, clock: Clock | None) -> frozenset[str]:
    """The roles whose turns the template leaves out of a dialogue's prompt; one that it refuses is not among them."""
    found: set[str] = set()
    system = {"role": "system", "content": "qsystemq"}
    rest = [
        {"role": "user", "content": "quserq"},
        {"role": "assistant", "content": "qassistantq"},
        {"role": "user", "content": "qlastq"},
    ]
    for turns in ([system, *rest], rest):
        try:
            text = _text(tokenizer, turns, clock, ask=True)
        except TemplateRefusal:
            continue
        # Some write in capitals or take apart what they are given; a turn is lost where nothing of it is there.
        found |= {turn["role"] for turn in turns if turn["content"].casefold() not in text.casefold()}
        break
    return frozenset(found)


def template_notices(
    tokenizer: PreTrainedTokenizerBase, clock: Clock | None, stops: Collection[int] | None
) -> tuple[str, ...]:
    """What a template does to every dialogue and no reader of a run's numbers would expect.

    Args:
        stops: the tokens that end a response; None: not known, and not looked at.
    """
    question, marker = [{"role": "user", "content": "hello"}], "qanswerq"
    asked = _text(tokenizer, question, clock, ask=True)
    notices = []
    try:
        whole = _text(tokenizer, [*question, {"role": "assistant", "content": marker}], clock)
    except TemplateRefusal as error:
        raise BenchError(error.message, _ANOTHER) from error
    head, found, tail = whole.partition(marker)
    if not found:
        raise BenchError(f"The chat template of {_name(tokenizer)} leaves out what the assistant says.", _ANOTHER)
    if (header := head[len(asked) :]).strip() and head.startswith(asked):
        notices.append(
            f"the chat template writes {header!r} before an answer and not where it asks for one: it is trained and "
            "scored as a part of every answer, and a response has to begin with it"
        )
    elif not head.startswith(asked.rstrip()):
        notices.append(
            "where the chat template asks for an answer, it writes what it does not write before one: prompts end "
            "where the two begin to differ"
        )
    if stops is not None and set(stops).isdisjoint(tokenizer(tail, add_special_tokens=False)["input_ids"]):
        notices.append(
            "the chat template ends no answer with a token that ends a response: nothing teaches the model to stop, "
            "and a response may go on to max_new_tokens"
        )
    begins = tokenizer.bos_token_id
    if begins is not None and _adds_beginning(tokenizer) and dialogue_ids(tokenizer, question, clock)[:1] != [begins]:
        notices.append(
            f"the tokenizer begins a text with {tokenizer.bos_token}, the chat template does not: dialogues are "
            "without it, as the template has them"
        )
    return tuple(notices)


def _adds_beginning(tokenizer: PreTrainedTokenizerBase) -> bool:
    return list(tokenizer("hello")["input_ids"][:1]) == [tokenizer.bos_token_id]


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end a response: the tokenizer's end of sequence and those of the model's generation settings."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (tokenizer.eos_token_id, *listed) if i is not None)

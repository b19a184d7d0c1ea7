"""Verifiers of public packages: reasoning-gym's scores of answers, if-verifiable's checks of instructions (IFEval).

Both packages are optional (the extra ``verifiable``) and imported when a verifier is asked. Of either only what
compares text is used: some of reasoning-gym's verifiers evaluate an answer as an expression of Python, and what a model
writes is not run; some of if-verifiable's guess the language of a text by chance, or need data from the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from lifealign_bench.errors import BenchError
from lifealign_bench.util.extras import require_extra
from lifealign_bench.util.registry import unknown_name

Package = Literal["reasoning-gym", "if-verifiable"]

GENERATORS: dict[Package, tuple[str, ...]] = {
    "reasoning-gym": (
        *("base_conversion", "caesar_cipher", "chain_sum", "count_bits", "family_relationships", "gcd", "lcm"),
        *("leg_counting", "letter_counting", "needle_haystack", "number_filtering", "products", "simple_equations"),
        *("spell_backward", "word_sequence_reversal", "word_sorting"),
    ),
    "if-verifiable": (
        *("combination:two_responses", "detectable_content:number_placeholders", "detectable_content:postscript"),
        *("detectable_format:number_bullet_lists", "detectable_format:number_highlighted_sections"),
        *("detectable_format:title", "punctuation:no_comma", "startend:end_checker", "startend:quotation"),
    ),
}


def require_package(package: Package, what: str) -> None:
    """Make sure that a verifiers' package is installed, without importing it.

    Args:
        package: its name.
        what: what was asked for, as the subject of a sentence.

    Raises:
        UsageError: it is not there; says how to get it.
    """
    require_extra(package.replace("-", "_"), "verifiable", what)


def check_generator(package: Package, generator: str) -> None:
    """Refuse a generator whose verifier is not used here.

    Raises:
        UsageError: names those that are.
    """
    if generator not in GENERATORS[package]:
        raise unknown_name(f"generator of {package}", generator, GENERATORS[package])


def package_version(package: Package) -> str:
    """The version that is installed; the package is there."""
    return version(package)


def gym_dataset(generator: str, settings: Mapping[str, Any], seed: int, size: int) -> Any:
    """The items of a generator of reasoning-gym, by number.

    Raises:
        BenchError: the settings do not fit the generator; with its own words.
    """
    import reasoning_gym

    try:
        return reasoning_gym.create_dataset(generator, **settings, seed=seed, size=size)
    except (AssertionError, TypeError, ValueError) as error:
        raise unfit_settings(generator, error) from error


def unfit_settings(generator: str, why: object) -> BenchError:
    """The error for settings that a generator does not take."""
    text = " ".join(str(why).split()).rstrip(".")
    return BenchError(
        f"The settings of the generator {generator} do not fit it: {text}.", "Mend 'settings' on the card."
    )


@cache
def gym_verifier(generator: str) -> Callable[[str, Mapping[str, Any]], float]:
    """The function of a generator that scores a response to an item."""
    import reasoning_gym

    verifier: Callable[[str, Mapping[str, Any]], float] = reasoning_gym.get_score_answer_fn(generator)
    return verifier


def gym_score(response: str, check: Mapping[str, Any]) -> float:
    """What reasoning-gym's verifier gives an answer, from 0 to 1; an answer in a longer text is worth its share of it.

    Args:
        response: the answer.
        check: ``generator``, and ``entry``, the item as the generator made it.

    Raises:
        UsageError: the package is not installed.
    """
    generator, entry = check.get("generator"), check.get("entry")
    if generator not in GENERATORS["reasoning-gym"] or not isinstance(entry, Mapping):
        return 0.0
    require_package("reasoning-gym", f"The reward of {generator}")
    return float(gym_verifier(str(generator))(response, entry))


def instruction_text(instruction: str, settings: Mapping[str, Any]) -> str:
    """An instruction in if-verifiable's words.

    Raises:
        BenchError: a setting is missing (it would be drawn by chance), or is none of this instruction.
    """
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

    checker = INSTRUCTION_DICT[instruction](instruction)
    known = set(checker.get_instruction_args_keys())
    if known != set(settings):
        raise unfit_settings(instruction, f"it takes {', '.join(sorted(known)) or 'none'}")
    return " ".join(str(checker.build_description(**settings)).split())


def instruction_score(response: str, check: Mapping[str, Any]) -> float:
    """1 where if-verifiable's strict check finds an instruction kept, else 0.

    Args:
        response: what was written.
        check: ``instruction``, its ``settings``, and the ``prompt`` that it stands in.

    Raises:
        UsageError: the package is not installed.
    """
    instruction, settings = check.get("instruction"), check.get("settings")
    if instruction not in GENERATORS["if-verifiable"] or not isinstance(settings, Mapping):
        return 0.0
    require_package("if-verifiable", f"The reward of {instruction}")
    from if_verifiable.common import evaluate_instructions
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

    _, scores = evaluate_instructions(
        response, [str(instruction)], [dict(settings)], str(check.get("prompt", "")), INSTRUCTION_DICT
    )
    return float(scores.binary_strict)

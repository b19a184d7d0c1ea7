"""What the reference makes of our docstrings: Sphinx roles become links, descriptions of settings become docstrings."""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

__all__ = ["Docstrings"]

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


class Docstrings(griffe.Extension):
    """Found by mkdocstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for everything that was read, when all of its file is known."""
        if isinstance(obj, griffe.Attribute) and isinstance(obj.value, griffe.ExprCall):
            _take_description(obj, obj.value)
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda found: _link(obj, found[2], bool(found[1])), obj.docstring.value)


def _take_description(attribute: griffe.Attribute, call: griffe.ExprCall) -> None:
    """The description that a pydantic field is declared with is its docstring, and no part of its shown value."""
    for argument in call.arguments:
        if isinstance(argument, griffe.ExprKeyword) and argument.name == "description":
            text = str(ast.literal_eval(str(argument.value)))
            attribute.docstring = attribute.docstring or griffe.Docstring(text, parent=attribute)
            call.arguments = [other for other in call.arguments if other is not argument]


def _link(owner: griffe.Object, name: str, short: bool) -> str:
    """A reference that is plain text where the site has no page about it."""
    try:
        path = owner.resolve(name)
    except griffe.NameResolutionError:
        path = name
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'

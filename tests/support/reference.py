"""Writes the reference of the services from their signatures and docstrings.

`python -m tests.support.reference` brings `docs/services.md` up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from octo_stripe_gateway import services
from tests.support.docs import FOLDER

PAGE = FOLDER / "services.md"
WIDTH = 88
INTRODUCTION = """\
# Services

What can be done with a payment from Python: `from octo_stripe_gateway import services`. This page is made
from the docstrings, which `help(services.create_payment)` shows as well. How they work together is in
[payables.md](payables.md).

Amounts are integers in Stripe's minor unit. A function that calls Stripe raises RuntimeError inside a
transaction of yours: call it outside, or from `transaction.on_commit`.
"""
ERRORS = """\
## Errors

All are in `octo_stripe_gateway.exceptions`; [api.md](api.md#errors) says what the API answers them with.
Whoever catches one also catches those that are one of its kind.

| error | is a | |
|---|---|---|\
"""


def render() -> str:
    """Return the page."""
    import griffe

    package: Any = griffe.load("octo_stripe_gateway", resolve_aliases=True)
    public = {name: package["services"][name] for name in services.__all__}
    parts = [_describe(each) for each in public.values() if each.docstring]
    return "\n".join([INTRODUCTION, *parts, ERRORS, *_list_errors(package["exceptions"])]) + "\n"


def _describe(item: Any) -> str:
    text = re.sub(r"(https://\S+?)([.,;:]?)(?=\s|$)", r"<\1>\2", item.docstring.value)
    return f"## {item.name}\n\n```py\n{_show_signature(item)}\n```\n\n{text}\n"


def _show_signature(item: Any) -> str:
    """Return it on one line, or with a line for each parameter."""
    returned = f" -> {item.returns}" if item.is_function else ""
    shown = list(_show_parameters(item))
    line = f"{item.name}({', '.join(shown)}){returned}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{item.name}(", *(f"    {each}," for each in shown), f"){returned}"])


def _show_parameters(item: Any) -> Iterator[str]:
    """Yield a function's parameters, or the fields of a tuple or dataclass."""
    if item.is_class:
        fields = (
            each for each in item.members.values() if each.is_attribute and "property" not in each.labels
        )
        yield from (_show_one(each.name, each.annotation, each.value) for each in fields)
        return
    has_star = False
    for each in item.parameters:
        if each.kind.name == "keyword_only" and not has_star:
            has_star = True
            yield "*"
        is_open = each.kind.name == "var_keyword"
        yield _show_one(
            f"**{each.name}" if is_open else each.name, each.annotation, None if is_open else each.default
        )


def _show_one(name: str, annotation: Any, default: Any) -> str:
    is_given = default is not None and not str(default).startswith("field(")
    return f"{name}: {annotation}" + (f" = {default}" if is_given else "")


def _list_errors(exceptions: Any) -> Iterator[str]:
    for error in exceptions.classes.values():
        bases = ", ".join(f"`{each}`" for each in error.bases)
        yield f"| `{error.name}` | {bases} | {error.docstring.value.splitlines()[0]} |"


if __name__ == "__main__":
    PAGE.write_text(render())

"""JSON that was written by hand: says what is wrong where, and how to mend it."""

import json
import re
from typing import Any

from dor_ecco_assets.errors import ConfigurationError

__all__ = ["read_json"]


def read_json(text: str, name: str, *, tolerant: bool = False) -> tuple[Any, list[str]]:
    """Read JSON; on demand also where a comma is missing or one too many.

    Parameters
    ----------
    text : str
    name : str
        The file, for messages.
    tolerant : bool
        Take text whose only faults are commas, where there is one way to mend each.

    Returns
    -------
    value : object
    mended : list of str
        What was mended, with line and column.

    Raises
    ------
    ConfigurationError
        Code ``NotJson``: names file, line, column and, where there is one, the mend.
    """
    text = text.lstrip("\ufeff")
    mended: list[str] = []
    while True:
        try:
            return json.loads(text), mended
        except json.JSONDecodeError as error:
            found = _mend(text, error)
            if found is None or not tolerant:
                told = f"; {found[1]}, or import with --tolerant" if found else "; mend it there"
                raise ConfigurationError(
                    f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
                    f"{told}",
                    code="NotJson",
                ) from error
            text, mend = found
            mended.append(f"{name}: {mend}")


def _mend(text: str, error: json.JSONDecodeError) -> tuple[str, str] | None:
    """The mended text and what to do by hand; None where that is not certain."""
    place = error.pos
    before = text[:place].rstrip()
    after = text[place:].lstrip()
    if after[:1] == "," and re.match(r",\s*[\]}]", after):
        comma = text.index(",", place)
        return text[:comma] + text[comma + 1 :], f"remove the comma {_where(text, comma)}"
    if after[:1] in ("]", "}") and before.endswith(","):
        comma = len(before) - 1
        return text[:comma] + text[comma + 1 :], f"remove the comma {_where(text, comma)}"
    # Between two strings on one line a quote may be the fault; across lines only the comma can be.
    between = text[len(before) : place]
    ends = before[-1:] in ("}", "]") or (before[-1:] == '"' and "\n" in between)
    if "',' delimiter" in error.msg and ends and after[:1] in ("{", "[", '"'):
        return (
            f"{before},{text[len(before) :]}",
            f"put a comma after {before[-1]} {_where(text, len(before) - 1)}",
        )
    return None


def _where(text: str, place: int) -> str:
    line = text.count("\n", 0, place) + 1
    return f"on line {line}, column {place - text.rfind(chr(10), 0, place)}"

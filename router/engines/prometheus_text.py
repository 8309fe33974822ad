"""Reads a few gauges out of a Prometheus text page without parsing the rest: engines print a thousand lines of it."""

from __future__ import annotations

import re
from collections.abc import Collection

_SAMPLE = re.compile(
    rb"(?:\{(?:[^\"}\n]|\"(?:[^\"\\\n]|\\.)*+\")*+\})?"  # labels; a value may hold braces, blanks, escaped quotes
    rb"[ \t]++([^ \t\r\n]++)"  # the value
    rb"(?:[ \t]++-?[0-9]++)?[ \t]*+\r?(?:\n|$)"  # the time, which we do not need
)
_VALUE = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[iI]nf|[nN]a[nN])")


def samples(text: bytes, names: Collection[str]) -> dict[str, list[float]]:
    """All values of the named metrics, in order; a line that is not well formed counts as absent. Never raises."""
    found = {}
    for name in names:
        if values := _values(text, name.encode()):
            found[name] = values
    return found


def _values(text: bytes, name: bytes) -> list[float]:
    values = []
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if at == 0 or text[at - 1] == ord("\n"):
            match = _SAMPLE.match(text, end)
            if match and _VALUE.fullmatch(match[1]):
                values.append(float(match[1]))
        at = text.find(name, end)
    return values

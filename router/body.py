"""A request body: parsed once, and passed on as the client's own bytes wherever nothing must change."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from router.errors import BadRequest

Span = tuple[int, int, int]
"""Where one top-level member lies in the body: start of its key, start of its value, end of its value."""

# Every pattern below runs on bytes that orjson has already accepted, so none of them checks anything.
# A string without an escaped quote in front of its end is skipped at memchr speed, any other one byte by byte.
_STRING = rb'"(?>[^"]*+(?<!\\)"|[^"\\]*+(?:\\.[^"\\]*+)*+")'
_KEY = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+")
_PLAIN_VALUE = re.compile(rb"(?:" + _STRING + rb'|[^",{}\[\] \t\r\n]++)')
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+')
_TO_COMMA = re.compile(rb"[ \t\r\n]*+,?")
_OPENING = b"{["
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A JSON object. `fields` is what `raw` says, in the same order; neither is ever changed."""

    raw: bytes
    fields: dict[str, object]
    spans: tuple[Span, ...]

    def with_fields(self, set: Mapping[str, object] = _NOTHING, drop: Collection[str] = ()) -> bytes:
        """The body with the fields of `set` in it and those of `drop` not; nothing to change gives `raw` itself.

        Members that are not named keep their bytes, every digit of a number included. New fields come last, and what
        stands in both `set` and `drop` is set.
        """
        fields = self.fields
        if fields.keys().isdisjoint(drop) and all(
            name in fields and _same(fields[name], value) for name, value in set.items()
        ):
            return self.raw
        members = []
        for (name, _), (start, value, end) in zip(fields.items(), self.spans, strict=True):
            if name in set:
                members.append(self.raw[start:value] + orjson.dumps(set[name]))
            elif name not in drop:
                members.append(self.raw[start:end])
        members += [
            orjson.dumps(name) + b":" + orjson.dumps(value) for name, value in set.items() if name not in fields
        ]
        return b"{" + b",".join(members) + b"}"


def parse(raw: bytes) -> Body:
    """Raises `BadRequest` for anything but one JSON object whose top-level keys all differ.

    A key given twice would let the gateway and the engine read two different requests out of the same bytes.
    """
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _bad_json(raw, error) from None
    if not isinstance(fields, dict):
        raise BadRequest(f"the body must be a JSON object, not {_kind(fields)}", code="invalid_json")
    spans = _members(raw)
    if len(spans) != len(fields):
        raise BadRequest(_repeated(raw, spans), code="duplicate_key")
    return Body(raw, fields, spans)


def _members(raw: bytes) -> tuple[Span, ...]:
    """All top-level members of a valid JSON object."""
    spans: list[Span] = []
    position = raw.index(b"{") + 1
    while key := _KEY.match(raw, position):
        end = _value_end(raw, key.end())
        spans.append((key.start(1), key.end(), end))
        position = _end(_TO_COMMA, raw, end)
    return tuple(spans)


def _value_end(raw: bytes, start: int) -> int:
    if raw[start] not in _OPENING:
        return _end(_PLAIN_VALUE, raw, start)
    depth, position = 1, start + 1
    while depth:
        position = _end(_TO_BRACKET, raw, position)
        depth += 1 if raw[position] in _OPENING else -1
        position += 1
    return position


def _end(pattern: re.Pattern[bytes], raw: bytes, position: int) -> int:
    match = pattern.match(raw, position)
    assert match is not None  # the JSON is valid, see above
    return match.end()


def _same(was: object, value: object) -> bool:
    """Whether both are written alike: `True == 1` in Python, not in JSON."""
    return was is value or orjson.dumps(was) == orjson.dumps(value)


def _bad_json(raw: bytes, error: orjson.JSONDecodeError) -> BadRequest:
    if not raw.strip():
        return BadRequest("the body is empty; send a JSON object", code="invalid_json")
    if "depth limit" in error.msg:
        return BadRequest("the body is nested too deeply", code="json_too_deep")
    where = f"line {error.lineno} column {error.colno}"
    return BadRequest(f"the body is not valid JSON: {error.msg} ({where})", code="invalid_json")


def _repeated(raw: bytes, spans: tuple[Span, ...]) -> str:
    seen: set[str] = set()
    for start, value, _ in spans:
        name = orjson.loads(raw[start:value].rstrip(b": \t\r\n"))
        if name in seen:
            return f"the body has the field {name[:64]!r} more than once"
        seen.add(name)
    raise AssertionError("counted a repeated key and found none")


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")

"""What a schema refuses, told to people: `file:line:col: where: what, what next`, in the order of the file."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from devices.catalog import did_you_mean
from router.located import ConfigError, Document, Loc, where

Whole = TypeVar("Whole", bound=BaseModel)


def validated(document: Document, kind: type[Whole], expected: str, context: Mapping[str, object]) -> Whole:
    """The document as `kind`; raises `ConfigError` with all problems found. `expected` tells what its root must be."""
    if not isinstance(document.data, dict):
        raise ConfigError(f"{document.at(())}: expected {expected}")
    if document.repeated:
        raise ConfigError("\n".join(document.repeated))
    try:
        return kind.model_validate(document.data, context=dict(context))
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(document, kind, error.errors()))) from None


def raise_located(document: Document, problems: Iterable[tuple[Loc, str]]) -> None:
    """Raise `ConfigError` with these problems, if there are any."""
    wrong = sorted(problems, key=lambda problem: document.position(problem[0]))
    if wrong:
        raise ConfigError("\n".join(f"{document.at(loc)}: {where(loc)}: {what}" for loc, what in wrong))


def _lines(document: Document, kind: type[BaseModel], details: list[ErrorDetails]) -> Iterator[str]:
    """One line per problem, in the order of the file."""
    found = []
    for detail in details:
        loc: Loc = tuple(part for part in detail["loc"] if part != "[key]")
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts the items that were sound; what is wrong with the others is said already
        extra = detail["type"] == "extra_forbidden"
        place = document.at(loc, key=extra)
        found.append((document.position(loc, key=extra), place, where(loc), _what(kind, loc, detail)))
    return (f"{place}: {path}: {what}" for _, place, path, what in sorted(found))


def _what(kind: type[BaseModel], loc: Loc, detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown field; {did_you_mean(str(loc[-1]), _fields(kind, loc[:-1]))}"
        case "missing":
            return "required, but missing"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"expected a mapping of settings, not {_shown(detail['input'])}"
        case "tuple_type" | "list_type":
            return f"expected a list in [ ], not {_shown(detail['input'])}"
        case "too_short":
            return "expected at least one entry"
        case "string_too_short":
            return "expected some text, not ''"
        case "string_pattern_mismatch":
            return f"expected a name of plain letters, digits and a few of . _ - : /, not {_shown(detail['input'])}"
        case "string_type" if isinstance(detail["input"], bool):
            return "YAML reads yes, no, on and off as true and false; put the text in quotes"
        case "string_type":
            return f"expected text, not {_shown(detail['input'])}; if it is meant so, put it in quotes"
        case "enum" | "literal_error":
            known = [word.strip("'") for word in str(detail["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
            return f"'{detail['input']}' is not possible; {did_you_mean(str(detail['input']), known)}"
        case "float_type" | "int_type" if _is_number(detail["input"]):
            return f"'{detail['input']}' is text to YAML; write it without quotes, and powers of ten as 1.0e+9"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {_shown(detail['input'])}"


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _fields(kind: type[BaseModel], loc: Loc) -> list[str]:
    """Names a mapping of the file may hold at `loc`, as they are written there; `kind` is the whole file."""
    key_next = False
    for step in loc:
        if key_next or isinstance(step, int):
            key_next = False  # the key of a dictionary or the index of a list stays within the same part
            continue
        annotation = next(
            field.annotation for name, field in kind.model_fields.items() if step == (field.alias or name)
        )
        key_next = typing.get_origin(annotation) is dict
        kind = next(_parts(annotation))
    return [field.alias or name for name, field in kind.model_fields.items()]


def _parts(annotation: object) -> Iterator[type[BaseModel]]:
    """The schema classes inside an annotation such as `tuple[PoolEntry, ...]` or `Tls | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _parts(inner)

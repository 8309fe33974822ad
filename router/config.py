"""Reads a fleet file. Every complaint is one line: `file:line:col: where: what, what next`."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from devices.catalog import did_you_mean
from router.config_checks import problems
from router.config_notices import files, notices
from router.located import ConfigError, Document, Loc, where
from router.schema import Config

__all__ = ["Config", "ConfigError", "load", "located", "notices", "read_secret", "unreadable"]


def load(path: str | Path) -> Config:
    """Read and check a fleet file; raises `ConfigError` with all problems found."""
    file = Path(path)
    document = Document(str(path), _text(file))
    if not isinstance(document.data, dict):
        raise ConfigError(f"{document.at(())}: expected a mapping with models and pools")
    if document.repeated:
        raise ConfigError("\n".join(document.repeated))
    try:
        config = Config.model_validate(document.data, context={"folder": file.parent})
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(document, error.errors()))) from None
    wrong = sorted(problems(config), key=lambda problem: document.position(problem[0]))
    if wrong:
        raise ConfigError("\n".join(f"{document.at(loc)}: {where(loc)}: {what}" for loc, what in wrong))
    return config


def located(path: str | Path, error: ConfigError) -> ConfigError:
    """A problem found after loading, with its place in front; as it is where it has none."""
    if not error.loc:
        return error
    try:
        place = Document(str(path), _text(Path(path))).at(error.loc)
    except ConfigError:  # the file has changed since it was loaded
        place = str(path)
    return ConfigError(f"{place}: {where(error.loc)}: {error}")


def unreadable(path: str | Path, config: Config) -> list[str]:
    """Located lines on files that `serve` needs and this process cannot read. The fleet file itself is sound."""
    found = []
    for loc, file in files(config):
        try:
            file.read_bytes()
        except OSError as error:
            what = f"{file}: {(error.strerror or str(error)).lower()}; `serve` needs it"
            found.append(str(located(path, ConfigError(what, loc))))
    return found


def read_secret(path: Path) -> str:
    """The one line of a key or token file, without its line end; raises `ConfigError`."""
    secret = _text(path).strip()
    if not secret or len(secret.split()) != 1:
        raise ConfigError(f"{path}: expected one key on one line")
    return secret


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _lines(document: Document, details: list[ErrorDetails]) -> Iterator[str]:
    """One line per problem, in the order of the file."""
    found = []
    for detail in details:
        loc: Loc = tuple(part for part in detail["loc"] if part != "[key]")
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts the items that were sound; what is wrong with the others is said already
        extra = detail["type"] == "extra_forbidden"
        found.append((document.position(loc, key=extra), document.at(loc, key=extra), where(loc), _what(loc, detail)))
    return (f"{place}: {path}: {what}" for _, place, path, what in sorted(found))


def _what(loc: Loc, detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown field; {did_you_mean(str(loc[-1]), _fields(loc[:-1]))}"
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


def _fields(loc: Loc) -> list[str]:
    """Names a mapping of the file may hold at `loc`, as they are written there."""
    kind: type[BaseModel] = Config
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

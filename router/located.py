"""YAML that remembers where everything stood, so that every complaint can name file, line and column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Loc = tuple[int | str, ...]
"""A path into the file: ("pools", 1, "device")."""


class ConfigError(ValueError):
    """A file cannot be used; one located line per problem.

    `loc` is the place of a problem found where the file is not at hand; `config.located` puts it in front.
    """

    def __init__(self, text: str, loc: Loc = ()) -> None:
        super().__init__(text)
        self.loc = loc


class _Loader(yaml.CSafeLoader):
    """Dates stay text: no setting is one, and names may look like one."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Document:
    """Parsed YAML: `data` as Python values, `at` for where they stand. Raises `ConfigError` where it is no YAML."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        try:
            loader = _Loader(text)
            try:
                self._root = loader.get_single_node()
                self._twice = list(_repeated_keys(self._root, (), set()))
                self.data: Any = loader.construct_document(self._root) if self._root else None
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            raise ConfigError(f"{self._place(error.problem_mark)}: {_told(error, text)}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}:1:1: {' '.join(str(error).split())}") from None
        except ValueError as error:  # a number that looks like one and is none
            raise ConfigError(f"{file}:1:1: {error}") from None
        except RecursionError:
            raise ConfigError(f"{file}:1:1: nested too deeply") from None

    @property
    def repeated(self) -> list[str]:
        """Located complaints about keys given twice, of which YAML would silently keep the last."""
        return [f"{self._place(mark)}: {where(loc)}: given twice" for loc, mark in self._twice]

    def at(self, loc: Loc, *, key: bool = False) -> str:
        """`file:line:col` of what stands at `loc`, or of its key; as near as the file goes where it is missing."""
        line, column = self.position(loc, key=key)
        return f"{self._file}:{line}:{column}"

    def position(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Line and column, counted from 1."""
        node, mark = self._root, None if self._root is None else self._root.start_mark
        for depth, part in enumerate(loc, start=1):
            found = _child(node, part)
            if found is None:
                break
            name, node = found
            mark = name.start_mark if name and key and depth == len(loc) else node.start_mark
        return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)

    def _place(self, mark: yaml.Mark | None) -> str:
        return f"{self._file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{self._file}:1:1"


def _told(error: yaml.MarkedYAMLError, text: str) -> str:
    """What the parser says, in words for people where its own are for parsers."""
    mark, said = error.problem_mark, str(error.problem)
    if mark and text[mark.index : mark.index + 1] == "\t":
        return "a tab; YAML takes spaces only"
    if said.endswith("found another document"):
        return "a second document; expected one, without a --- line"
    return said


def text(path: Path) -> str:
    """What a file holds; raises `ConfigError` where it cannot be read or is no text."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


def where(loc: Loc) -> str:
    """The path as people write it: pools[1].device."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in reversed(node.value):
            if key_node.value == str(part):
                return key_node, value_node
    return None


def _repeated_keys(node: yaml.Node | None, loc: Loc, seen: set[int]) -> Iterator[tuple[Loc, yaml.Mark]]:
    """Each node once, however many aliases lead to it."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, (*loc, index), seen)
    elif isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key_node, value_node in node.value:
            name = str(key_node.value)
            if name in names and name != "<<":
                yield (*loc, name), key_node.start_mark
            names.add(name)
            yield from _repeated_keys(value_node, (*loc, name), seen)

"""How commands speak: answers on stdout, complaints and progress on stderr, JSON where a program reads."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from loadgen.finding import Finding

if TYPE_CHECKING:
    from typer import Context

T = TypeVar("T")


def complain(text: str) -> None:
    """One line per problem on stderr."""
    for line in text.splitlines():
        sys.stderr.write(f"tokenyard: {line}\n")


def progress(text: str) -> None:
    """One line on stderr, only where someone watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


def progress_bar(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The same items, with a bar on stderr that moves as they come, only where someone watches."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(items, total=total)


def json_text(value: object) -> str:
    """JSON for programs: keys in the order they were made, figures as they are."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def answer_json(value: object) -> None:
    """JSON on stdout."""
    sys.stdout.write(json_text(value) + "\n")


def save_json(path: Path, value: object) -> None:
    """JSON to a file, `-` for stdout."""
    if str(path) == "-":
        answer_json(value)
    else:
        save_text(path, json_text(value) + "\n")


def save_text(path: Path, text: str) -> None:
    """A report to a file."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Finding(f"{path}: cannot write the report: {error.strerror}") from None


def command(context: Context) -> str:
    """The command as it was given, in one line that a shell takes; values of headers, which may be keys, left out."""
    words = ["tokenyard", context.info_name or ""]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            value = context.params[parameter.name or ""]
            option = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
            for one in value if isinstance(value, list | tuple) else [value]:
                text = f"{one:g}" if isinstance(one, float) else str(one)
                if parameter.name == "header":
                    text = f"{text.partition(':')[0]}: ..."
                words += option if one is True else [*option, text]
    return shlex.join(words)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """A table on stdout; the first column flush left, columns with a number in them flush right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for position, name in enumerate(columns):
        numeric = position > 0 and any(isinstance(row[position], int | float) for row in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=position == 0)
    for row in rows:
        made.add_row(*map(_cell, row))
    console = Console()
    # Not a terminal: nothing to fit into, so nothing is cut.
    Console(width=None if console.is_terminal else 200).print(made)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def pairs(values: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values))
    for name, value in values.items():
        sys.stdout.write(f"{name.ljust(width)}  {_cell(value)}\n")

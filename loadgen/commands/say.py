"""How commands speak: answers on stdout, complaints and progress on stderr, JSON where a program reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadgen.finding import Finding


def complain(text: str) -> None:
    """One line per problem on stderr."""
    for line in text.splitlines():
        sys.stderr.write(f"tokenyard: {line}\n")


def progress(text: str) -> None:
    """One line on stderr, only where someone watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


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
        return
    try:
        path.write_text(json_text(value) + "\n", encoding="utf-8")
    except OSError as error:
        raise Finding(f"{path}: cannot write the report: {error.strerror}") from None


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

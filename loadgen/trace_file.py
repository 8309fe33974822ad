"""The text of a trace file: unzipped where it is zipped, with the place in it where reading stands."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadgen.row import TraceError

_LONGEST_HEAD = 1 << 20
"""Characters of a first line; a file that has more before its first line end is no trace."""


class _LastByte(io.BufferedReader):
    """Remembers the last byte read: whether a file ends in a line end is seen at its end only.

    Reads past its own buffer, which would lose the lines before the place where a zipped file breaks off.
    """

    last = b""

    def read1(self, size: int = -1, /) -> bytes:
        data: bytes = self.raw.read1(size)  # type: ignore[attr-defined]
        if data:
            self.last = data[-1:]
        return data


@dataclass(slots=True, eq=False)
class TraceFile:
    """An open trace.

    Attributes:
        head: the first line, without its end.
        lines: those after it.
        line: the number of the line read last; whoever consumes `lines` sets it.
    """

    path: Path
    head: str
    lines: Iterator[str]
    _bytes: _LastByte
    line: Callable[[], int] = field(default=lambda: 1)

    @property
    def ended(self) -> bool:
        """Whether the bytes read so far end in a line end."""
        return self._bytes.last in (b"\n", b"\r")

    def error(self, text: str, line: int | None = None) -> TraceError:
        """About the line read last, unless another one is named."""
        return TraceError(f"{self.path}:{self.line() if line is None else line}: {text}")


@contextmanager
def opened(path: Path) -> Iterator[TraceFile]:
    """Raises TraceError for an empty file and, while the block reads, for what cannot be unzipped or decoded."""
    file: TraceFile | None = None
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            source = _LastByte(gzip.GzipFile(fileobj=raw) if zipped else raw)
            with io.TextIOWrapper(source, encoding="utf-8-sig", newline="") as text:
                head = text.readline(_LONGEST_HEAD)
                if not head.strip():
                    raise TraceError(f"{path}: empty file; expected a header arrival_s,input_tokens,output_tokens")
                file = TraceFile(path, head.rstrip("\r\n"), text, source)
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{_next(path, file)}: damaged gzip data ({error}); copy the file again") from error
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{_next(path, file)}: not a CSV or JSON text file ({error})") from error


def _next(path: Path, file: TraceFile | None) -> str:
    """The line that could not be read."""
    return f"{path}:{1 if file is None else file.line() + 1}"

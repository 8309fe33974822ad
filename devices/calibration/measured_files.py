"""Reads published timings, plain or gzip CSV. Strict: what cannot be understood is named by file and line.

A file is recognised by its header, so any file with the columns of a known one will do.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.calibration.measured_cells import CellError, Row
from devices.calibration.measured_rows import (
    api_call,
    collective_time,
    end_to_end,
    engine_run,
    iteration,
    layer_time,
    load_sample,
    published,
    request_times,
    server_run,
)
from devices.catalog import UnknownId
from devices.fits.measurements import Measurement

GZIP_MAGIC = b"\x1f\x8b"


class MeasurementError(ValueError):
    """The file cannot be used; the message says where and what."""


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file: the columns that make it out, and what each of its rows becomes."""

    name: str
    columns: frozenset[str]
    read: Callable[[Row], Measurement]


def _format(name: str, columns: str, read: Callable[[Row], Measurement]) -> Format:
    return Format(name, frozenset(columns.split()), read)


FORMATS = (
    _format(
        "iteration times",
        "device model phase batch tokens context tp precision engine ms kind source",
        iteration,
    ),
    _format(
        "closed-loop runs",
        "id system model_path backend backend_version precision mode isl osl concurrency batch_size tp_size"
        " attention_dp_size moe_tp_size moe_ep_size prefill_num_workers prefill_tp_size prefill_attention_dp_size"
        " prefill_moe_tp_size prefill_moe_ep_size decode_batch_size decode_num_workers decode_tp_size"
        " decode_attention_dp_size decode_moe_tp_size decode_moe_ep_size silicon_ttft_ms silicon_tpot_ms origin",
        end_to_end,
    ),
    _format(
        "requests of a run",
        "run request_id arrival_s input_tokens output_tokens first_token_s last_token_s",
        request_times,
    ),
    _format("limits of runs", "run vllm tp max_num_seqs max_num_batched_tokens num_kv_tokens", engine_run),
    _format(
        "MLPerf results",
        "round division submitter system benchmark scenario valid tok_s samples_s ttft_mean_ms tpot_mean_ms source",
        server_run,
    ),
    _format("API calls", "provider model input_tokens output_tokens ttft_ms itl_ms", api_call),
    _format("layer times", "device model tp tokens ms_layer_nonattn", layer_time),
    _format("collective times", "num_workers size devices_per_node collective ms fabric", collective_time),
    _format("published figures", "device model chips isl osl metric value source", published),
    _format("engine load", "t running waiting kv_cache_pct", load_sample),
)


def read(path: Path, unknown: list[str] | None = None) -> list[Measurement]:
    """All measurements of a file; raises `MeasurementError`.

    Rows with names the catalogue does not know are errors too, unless `unknown` collects what is wrong with them.
    """
    return list(_rows(path, unknown))


def _rows(path: Path, unknown: list[str] | None) -> Iterator[Measurement]:
    lines = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = next(lines, [])
        made = _recognised(path, header)
        for cells in lines:
            where = f"{path}:{lines.line_num}"
            if len(cells) != len(header):
                raise MeasurementError(f"{where}: {len(cells)} cells, the header has {len(header)}")
            try:
                measurement = made.read(Row(dict(zip(header, cells, strict=True))))
            except CellError as error:
                raise MeasurementError(f"{where}: {error}") from None
            except UnknownId as error:
                if unknown is None:
                    raise MeasurementError(f"{where}: {error}") from None
                unknown.append(f"{where}: {error}")
                continue
            yield measurement
    except csv.Error as error:
        raise MeasurementError(f"{path}:{lines.line_num}: not CSV: {error}") from None


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).decode("utf-8")
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (EOFError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path}: neither CSV nor gzip of CSV: {error}") from None


def _recognised(path: Path, header: Sequence[str]) -> Format:
    have = frozenset(header)
    if len(have) < len(header):
        raise MeasurementError(f"{path}:1: a column is named twice")
    for known in FORMATS:
        if known.columns <= have:
            return known
    if not any(known.columns & have for known in FORMATS):
        raise MeasurementError(f"{path}:1: unknown columns {','.join(header)[:80]!r}: none is one of measurements")
    nearest = max(FORMATS, key=lambda known: len(known.columns & have) / len(known.columns))
    missing = ", ".join(sorted(nearest.columns - have))
    raise MeasurementError(f"{path}:1: unknown columns; nearest are {nearest.name}, which also need {missing}")

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.finding import Finding
from loadgen.presets import preset
from loadgen.trace import Row, TraceError, rows
from loadgen.trace_write import write
from loadgen.workload import Workload

MADE = Workload(preset=preset("chat"), rate_per_s=5, duration_s=20, seed=3)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_written_workload_is_read_as_it_was_made(tmp_path: Path, name: str) -> None:
    assert write(tmp_path / name, MADE.unchained()) == len(list(MADE.rows()))
    assert list(rows(tmp_path / name)) == list(MADE.unchained())
    assert list(Workload(tmp_path / name).rows()) == list(MADE.rows())


def test_the_same_rows_make_the_same_bytes_whatever_the_file_is_called(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write(tmp_path / name, MADE.unchained())
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_names_with_commas_and_rows_without_ids_survive(tmp_path: Path) -> None:
    odd = [Row(0, 0.1 + 0.2, 1, 1, (), 'a,"b"'), Row(1, 1e-7 + 1, 513, 1, (0, 2**63), "")]
    write(tmp_path / "t.csv", odd)
    assert list(rows(tmp_path / "t.csv")) == odd


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(Finding, match="cannot write the trace: No such file or directory"):
        write(tmp_path / "no" / "t.csv", [])


def test_a_file_that_cannot_be_made_whole_leaves_what_was_there(tmp_path: Path) -> None:
    kept = tmp_path / "t.csv.gz"
    assert write(kept, [Row(0, 0.0, 100, 5)]) == 1
    before = kept.read_bytes()

    def breaks_off() -> Iterator[Row]:
        yield Row(0, 0.0, 7, 7)
        raise TraceError("t.csv:2: damaged")

    with pytest.raises(TraceError):
        write(kept, breaks_off())
    assert write(kept, []) == 0
    assert kept.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv.gz"]


def test_a_trace_may_be_written_over_itself(tmp_path: Path) -> None:
    kept = tmp_path / "t.csv"
    write(kept, [Row(0, 0.0, 100, 5), Row(1, 1.0, 200, 6)])
    assert write(kept, rows(kept)) == 2
    assert [row.input_tokens for row in rows(kept)] == [100, 200]

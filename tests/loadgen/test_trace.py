import gzip
from itertools import accumulate, islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.trace import Row, TraceError, has_arrivals, lengths, rows, window

SHIPPED = Path(__file__).parents[2] / "loadgen" / "data" / "azure2023_conv_10min.csv.gz"


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_plain_trace_is_read_row_by_row(tmp_path: Path) -> None:
    path = written(tmp_path, "arrival_s,input_tokens,output_tokens\n0.0,374,44\n4.3146,396,109\n")
    assert list(rows(path)) == [Row(0, 0.0, 374, 44), Row(1, 4.3146, 396, 109)]


def test_gzip_is_recognised_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    text = b"arrival_s,input_tokens,output_tokens\n1,2,3\n"
    assert list(rows(written(tmp_path, gzip.compress(text)))) == [Row(0, 1.0, 2, 3)]


def test_hash_ids_and_clients_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "arrival_s,input_tokens,output_tokens,hash_ids,client\n0,513,1,7 9,a\n0,1,1,,b\n")
    assert [(row.hash_ids, row.client) for row in rows(path)] == [((7, 9), "a"), ((), "b")]


def test_lengths_need_no_arrivals_and_rows_ask_for_them(tmp_path: Path) -> None:
    path = written(tmp_path, "input_tokens,output_tokens\n5,6\n")
    assert not has_arrivals(path)
    assert list(lengths(path)) == [Row(0, 0.0, 5, 6)]
    with pytest.raises(TraceError, match=r"t\.csv:1: no column arrival_s.*--rate"):
        list(rows(path))


def test_the_shipped_slice_is_ten_minutes_in_order() -> None:
    found = list(rows(SHIPPED))
    assert len(found) == 2867
    assert found[0] == Row(0, 0.0, 374, 44)
    assert found[-1].arrival_s < 600
    assert (sum(row.input_tokens for row in found), sum(row.output_tokens for row in found)) == (3_287_402, 746_194)


HEADER = "arrival_s,input_tokens,output_tokens,hash_ids\n"
GOOD = HEADER + "0,5,5,1\n1,6,6,2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv: empty file; expected a header"),
        (HEADER, r"t\.csv: no rows; expected at least one"),
        ("a,b,c\n1,2,3\n", r"t\.csv:1: header 'a,b,c'; expected \[arrival_s,\]input_tokens"),
        ("input_tokens,input_tokens,output_tokens\n1,2,3\n", r"t\.csv:1: header"),
        (HEADER + "0,5,5,1\n0,5\n", r"t\.csv:3: 2 columns; expected 4"),
        (HEADER + "soon,5,5,1\n", r"t\.csv:2: arrival_s 'soon'; expected seconds"),
        (HEADER + "nan,5,5,1\n", r"t\.csv:2: arrival_s 'nan'; expected seconds"),
        (HEADER + "-1,5,5,1\n", r"t\.csv:2: arrival_s '-1'; expected seconds"),
        (HEADER + "2,5,5,1\n1,5,5,1\n", r"t\.csv:3: arrival_s 1\.0 is before 2\.0"),
        (HEADER + "0,0,5,1\n", r"t\.csv:2: input_tokens '0'; expected a whole number"),
        (HEADER + "0,5,1.5,1\n", r"t\.csv:2: output_tokens '1\.5'; expected a whole number"),
        (HEADER + "0,5,,1\n", r"t\.csv:2: output_tokens ''; expected a whole number"),
        (HEADER + f"0,{'9' * 5000},5,1\n", r"t\.csv:2: input_tokens '9{40}'; expected a whole number of tokens"),
        (HEADER + "0,5,2000000000,1\n", r"t\.csv:2: output_tokens '2000000000'; expected .* 1 to 1000000000$"),
        (HEADER + "1e300,5,5,1\n", r"t\.csv:2: arrival_s '1e300'; expected seconds since the start, 0 to 1e\+09$"),
        (HEADER + f"0,5,5,{'1' * 5000}\n", r"t\.csv:2: hash_ids '1{60}'; expected whole numbers"),
        (HEADER + f"0,5,5,{'1' * 21}\n", r"t\.csv:2: hash_ids '1{21}'; expected whole numbers of up to 20 digits"),
        (HEADER + "0,5,5,²\n", r"t\.csv:2: hash_ids '²'; expected whole numbers"),
        (HEADER + "0,²,5,1\n", r"t\.csv:2: input_tokens '²'; expected a whole number"),
        (HEADER + "0,5,5,x\n", r"t\.csv:2: hash_ids 'x'; expected whole numbers"),
        (HEADER + "0,513,5,1\n", r"t\.csv:2: 1 hash_ids for 513 input_tokens; expected one per 512 tokens, 2"),
        (b"\xff\xfe\x00", r"t\.csv:1: not a CSV or JSON text file"),
        (gzip.compress(b"arrival_s," * 500, mtime=0)[:-9], r"t\.csv:1: damaged gzip data"),
        (gzip.compress(GOOD.encode(), mtime=0)[:-9], r"t\.csv:4: damaged gzip data .*; copy the file again"),
        (HEADER + "0,5,5,1,9\n", r"t\.csv:2: 5 columns; expected 4 as in the header"),
        (HEADER + "inf,5,5,1\n", r"t\.csv:2: arrival_s 'inf'; expected seconds"),
        (HEADER + "0,+5,5,1\n", r"t\.csv:2: input_tokens '\+5'; expected a whole number"),
        (HEADER + "0,5,5,1\n1,5,5", r"t\.csv:3: 3 columns; expected 4"),
        (HEADER + "0,5,5,1\n\n1,6,78,1", r"t\.csv:4: the file stops inside this line; expected a line end"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4b\n", r"t\.csv:1: a Git LFS pointer, not the file"),
        ("TIMESTAMP,ContextTokens\n", r"t\.csv:1: header 'TIMESTAMP,ContextTokens'; expected .*Azure.*BurstGPT"),
    ],
)
def test_a_bad_trace_says_where_and_what_was_expected(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        list(rows(written(tmp_path, text)))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(TraceError, match="/no/such/trace: No such file"):
        list(rows(Path("/no/such/trace")))


def test_rows_before_a_bad_one_are_still_given(tmp_path: Path) -> None:
    reader = rows(written(tmp_path, HEADER + "0,5,5,1\n?,5,5,1\n"))
    assert next(reader).input_tokens == 5
    with pytest.raises(TraceError):
        next(reader)


def test_a_window_starts_at_zero_and_its_length_is_that_of_the_replay() -> None:
    source = (Row(i, float(i), 1, 1) for i in range(100))
    cut = list(window(source, start_s=10, duration_s=5, rate_scale=2))
    assert [(row.index, row.arrival_s) for row in cut] == [(10 + i, i / 2) for i in range(10)]


@given(
    gaps=st.lists(st.integers(0, 50), max_size=40),
    starts=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    durations=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    scales=st.tuples(*[st.sampled_from([0.5, 1.0, 2.0, 4.0])] * 2),
)
def test_a_window_of_a_window_is_a_window(
    gaps: list[int], starts: tuple[int, int], durations: tuple[int, int], scales: tuple[float, float]
) -> None:
    source = [Row(index, float(at), 1, 1) for index, at in enumerate(accumulate(gaps))]
    twice = window(window(source, starts[0], durations[0], scales[0]), starts[1], durations[1], scales[1])
    left_s = (durations[0] - starts[1]) / scales[1]
    once = window(source, starts[0] + starts[1] * scales[0], min(left_s, durations[1]), scales[0] * scales[1])
    assert list(twice) == list(once)


def test_a_window_stops_reading_at_its_end() -> None:
    source = (Row(i, float(i), 1, 1) for i in range(100))
    assert len(list(window(source, duration_s=3))) == 3
    assert next(source).index == 4


def test_reading_the_head_of_a_long_trace_reads_no_more() -> None:
    assert [row.index for row in islice(rows(SHIPPED), 3)] == [0, 1, 2]

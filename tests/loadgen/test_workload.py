from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from loadgen.lengths import Lognormal, lognormal
from loadgen.presets import preset
from loadgen.trace import Row, TraceError
from loadgen.workload import Mix, Workload, WorkloadError, mix


def test_lognormal_lengths_have_the_median_and_stay_within_bounds() -> None:
    drawn = list(islice(Lognormal(100, 1.0, most_tokens=1000).tokens(seed=5), 20_000))
    assert np.median(drawn) == pytest.approx(100, rel=0.05)
    assert min(drawn) >= 1
    assert max(drawn) == 1000


def test_sigma_zero_is_a_fixed_length() -> None:
    assert set(islice(lognormal("512").tokens(seed=1), 100)) == {512}


@pytest.mark.parametrize("text", ["", "x", "0", "10:-1", "10:x", "inf", "nan:1", "99999999"])
def test_bad_lengths_are_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected P50 or P50:SIGMA"):
        lognormal(text)


def trace(folder: Path, text: str = "arrival_s,input_tokens,output_tokens\n0,10,1\n2,20,2\n4,30,3\n") -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_a_trace_is_replayed_at_its_own_times(tmp_path: Path) -> None:
    rows = list(Workload(trace(tmp_path), rate_scale=2, duration_s=2).rows())
    assert rows == [Row(0, 0.0, 10, 1), Row(1, 1.0, 20, 2)]


def test_with_a_rate_a_trace_gives_its_lengths_over_and_over(tmp_path: Path) -> None:
    rows = list(islice(Workload(trace(tmp_path), rate_per_s=5, duration_s=100).rows(), 5))
    assert [row.input_tokens for row in rows] == [10, 20, 30, 10, 20]
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert all(a.arrival_s < b.arrival_s for a, b in pairwise(rows))


def test_a_replayed_trace_has_chained_ids_and_a_second_lap_shares_no_text_with_the_first(tmp_path: Path) -> None:
    text = "arrival_s,input_tokens,output_tokens,hash_ids\n0,600,1,4 5\n1,600,1,6 5\n"
    one, two = Workload(trace(tmp_path, text)).rows()
    assert len({*one.hash_ids, *two.hash_ids}) == 4
    laps = list(islice(Workload(trace(tmp_path, text), rate_per_s=1, duration_s=1e6).rows(), 4))
    assert laps[0].hash_ids == one.hash_ids
    assert len({block for row in laps for block in row.hash_ids}) == 8


def test_without_a_trace_lengths_are_drawn_and_the_duration_ends_it() -> None:
    rows = list(Workload(rate_per_s=50, duration_s=20, seed=2).rows())
    assert len(rows) == pytest.approx(1000, rel=0.15)
    assert rows[-1].arrival_s < 20
    assert len({row.input_tokens for row in rows}) > 100
    assert rows == list(Workload(rate_per_s=50, duration_s=20, seed=2).rows())


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (Workload(), "--trace FILE, --rate R or --workload NAME"),
        (Workload(Path("t.csv"), preset=preset("chat")), "--workload and --trace both"),
        (Workload(preset=preset("chat"), rate_per_s=1), "--duration"),
        (Workload(rate_per_s=1), "--duration"),
        (Workload(rate_per_s=1, duration_s=5, start_s=3), "--start"),
    ],
)
def test_options_that_make_no_workload_say_what_to_add(workload: Workload, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        workload.rows()


def test_a_trace_of_lengths_alone_asks_for_a_rate(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="add --rate"):
        Workload(trace(tmp_path, "input_tokens,output_tokens\n1,1\n")).rows()


def test_a_mix_gives_classes_in_their_shares_and_each_row_its_own_for_good() -> None:
    shares = mix("chat:6,agent:3,batch:1", seed=1)
    drawn = Counter(shares.traffic_class(index) for index in range(10_000))
    assert drawn["chat"] == pytest.approx(6000, rel=0.05)
    assert drawn["batch"] == pytest.approx(1000, rel=0.1)
    assert shares.traffic_class(17) == mix("chat:0.6,agent:0.3,batch:0.1", seed=1).traffic_class(17)


def test_a_lone_class_takes_every_row() -> None:
    assert {Mix.of({"chat": 0.2}).traffic_class(index) for index in range(50)} == {"chat"}


@pytest.mark.parametrize("text", ["", "chat:x", "chat:0", "chat:-1", ":1", "chat:1,chat:2", "chat:1,"])
def test_a_bad_mix_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(WorkloadError, match="NAME:SHARE"):
        mix(text)

from pathlib import Path

import pytest

from loadgen.describe import describe

SHIPPED = Path(__file__).parents[2] / "loadgen" / "data" / "azure2023_conv_10min.csv.gz"


def test_a_trace_is_described_by_hand_checked_figures(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,hash_ids\n0,1024,10,1 2\n1,1024,20,1 3\n4,512,30,1\n")
    found = describe(path)
    assert found["requests"] == 3
    assert found["duration_s"] == 4
    assert found["rate_per_s"] == 0.5
    assert found["interarrival_cv"] == 0.5  # gaps 1 and 3: deviation 1, mean 2
    assert found["output_tokens"] == {"mean": 20.0, "p50": 20.0, "p90": 28.0, "p99": 29.8, "max": 30.0}
    assert found["peak_to_mean_1s"] == 1.6667  # one request in the fullest of five seconds, three in all
    assert found["prefix_reuse_by_cache_tokens"] == {str(1 << size): 0.4 for size in (18, 20, 22, 24)}
    assert found["prefix_reuse"] == 0.4  # of five blocks, the second row's 1 and the third row's


def test_an_id_is_known_by_all_before_it_and_not_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,hash_ids\n0,1024,10,1 2\n1,1024,20,3 2\n4,512,30,2\n")
    assert describe(path)["prefix_reuse"] == 0


def test_without_arrivals_or_hash_ids_those_figures_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("input_tokens,output_tokens\n5,6\n")
    found = describe(path)
    assert found["rate_per_s"] is None
    assert found["prefix_reuse"] is None
    assert found["requests"] == 1


def test_the_shipped_trace_has_the_burstiness_of_the_azure_conversation_trace() -> None:
    found = describe(SHIPPED)
    assert found["interarrival_cv"] == pytest.approx(1.07, abs=0.1)
    assert found["rate_per_s"] == pytest.approx(4.78, abs=0.01)

"""The highest rate that keeps a benchmark's promise, and what one device's results say of another's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import catalog
from devices.calibration.measured_files import read
from devices.calibration.server_benchmark import (
    Modelled,
    Result,
    measured,
    modelled,
    predicted,
    results,
    without_cell,
    without_device,
)
from devices.calibration.server_rate import Lengths, Stream, highest_rate, overrun, slower, slowest
from devices.economics.operating_point import Promise
from devices.natures.bounds import Bounds
from devices.natures.hbm import HbmPredictor
from devices.profile import Precision
from devices.worker import Limits

DATA = Path(__file__).parent / "data" / "mlperf_server.csv"
FP8 = Precision.FP8
LIMITS = Limits(1_000_000, 1024, False, 8192, 4096)
FIXED = Lengths(100, 0.0, 11, 0.0)
STREAM = Stream(FIXED, workers=4, duration_s=20.0)


MILLISECOND_EACH = HbmPredictor(
    fixed_s=0.001,
    dense_s=0.0,
    experts_s=0.0,
    missed=1.0,
    token_s=0.0,
    kv_s=0.0,
    pair_s=0.0,
    sequence_s=0.001,
    chunk_tokens=8192,
)
"""An iteration takes a millisecond, and as much again for every sequence that decodes."""


def test_gaps_of_a_stream_dealt_out_to_many_are_regular() -> None:
    gaps = np.diff(Stream(FIXED, workers=16, duration_s=1000).arrivals(10.0))
    assert gaps.mean() == pytest.approx(0.1, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1 / 4, rel=0.05)


def test_lengths_stay_within_their_bounds() -> None:
    prompts, outputs = Lengths(100, 2.0, 100, 2.0, 48, 200).drawn(1000, 1)
    assert (prompts.min(), prompts.max(), outputs.min(), outputs.max()) == (48, 200, 48, 200)


def test_the_time_per_output_token_of_a_lone_request_is_its_step() -> None:
    alone = Stream(FIXED, duration_s=1.0)
    assert overrun(MILLISECOND_EACH, LIMITS, alone, 1.0, Promise(tpot_s=0.001)) == pytest.approx(2.0)


def test_the_highest_rate_keeps_the_promise_and_a_higher_one_does_not() -> None:
    promise = Promise(ttft_s=0.1, tpot_s=0.01)
    rate = highest_rate(MILLISECOND_EACH, LIMITS, STREAM, promise, 3.0)
    assert (
        overrun(MILLISECOND_EACH, LIMITS, STREAM, rate, promise)
        <= 1
        < overrun(MILLISECOND_EACH, LIMITS, STREAM, rate * 1.02, promise)
    )


def test_a_guess_too_high_finds_the_same_rate() -> None:
    promise = Promise(ttft_s=0.1, tpot_s=0.01)
    low, high = (highest_rate(MILLISECOND_EACH, LIMITS, STREAM, promise, guess) for guess in (3.0, 900.0))
    assert low == pytest.approx(high, rel=0.02)


def test_how_much_slower_a_device_may_be_and_its_highest_rate_say_the_same() -> None:
    promise = Promise(ttft_s=0.1, tpot_s=0.01)
    factor = slowest(MILLISECOND_EACH, LIMITS, STREAM, promise, 40.0)
    assert highest_rate(slower(MILLISECOND_EACH, factor), LIMITS, STREAM, promise, 10.0) == pytest.approx(
        40.0, rel=0.03
    )


def test_a_promise_nobody_can_keep_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(ValueError, match="not even a millionth"):
        highest_rate(MILLISECOND_EACH, LIMITS, Stream(FIXED, duration_s=1.0), Promise(tpot_s=1e-4), 8.0)


def test_slower_means_every_kind_of_work() -> None:
    under = HbmPredictor(1.0, 2.0, 3.0, 0.5, 4.0, 5.0, 6.0, 7.0, 100, Bounds(10, 8.0, 9.0))
    chunks = [(5, 3), (2, 0)]
    assert slower(under, 3.0).step_s(4, 100, chunks) == pytest.approx(3 * under.step_s(4, 100, chunks))
    assert slower(under, 3.0).decode_step_s(4, 9) == pytest.approx(3 * under.decode_step_s(4, 9))
    assert slower(under, 3.0).prefill_s(250) == pytest.approx(3 * under.prefill_s(250))


def test_a_device_with_a_second_memory_is_refused() -> None:
    maia = HbmPredictor.of(catalog.device("maia-200"), catalog.model("llama-3.1-8b"), 1, FP8, FP8, 8192)
    with pytest.raises(ValueError, match="on-chip tier"):
        slower(maia, 2.0)


def result(device: str, kernels: str, factor: float) -> Result:
    """A cell without a simulation."""
    model = Modelled(1, kernels, MILLISECOND_EACH, LIMITS, STREAM, Promise(tpot_s=0.01))
    return Result(catalog.device(device), kernels, 40.0, model, factor)


KNOWN = [
    result("h100-sxm", "a", 2.0),
    result("h100-sxm", "b", 6.0),
    result("mi300x", "a", 4.0),
    result("mi300x", "b", 12.0),
    result("mi325x", "a", 5.0),
]


def test_factors_that_multiply_are_found_without_the_cell() -> None:
    assert without_cell(KNOWN, KNOWN[3]) == pytest.approx(12.0)


def test_a_cell_says_nothing_of_its_own_prediction() -> None:
    wrong = replace(KNOWN[3], factor=99.0)
    assert without_cell([*KNOWN[:3], wrong, KNOWN[4]], wrong) == pytest.approx(12.0)


def test_a_device_with_one_result_has_nothing_left_to_learn_from() -> None:
    assert without_cell(KNOWN, KNOWN[4]) is None
    assert math.isnan(predicted(KNOWN[4], None))


def test_without_its_device_a_result_follows_its_vendor() -> None:
    assert without_device(KNOWN, KNOWN[4]) == pytest.approx(4.0)
    assert without_device(KNOWN, KNOWN[0]) is None  # no other NVIDIA device


def test_the_best_valid_closed_result_of_each_device_counts() -> None:
    found = measured(read(DATA))
    assert found["mi300x", "llama2-70b"] == pytest.approx(86.13 / 8)
    assert not any(device == "16xMI325X_8xMI300X_2xEPYC_9575F" for device, _ in found)


def test_open_offline_and_invalid_results_do_not_count() -> None:
    [row, *_] = read(DATA)
    others = [
        replace(row, division="open"),  # type: ignore[type-var]
        replace(row, scenario="Offline"),  # type: ignore[type-var]
        replace(row, valid=False),  # type: ignore[type-var]
        replace(row, device=None),  # type: ignore[type-var]
    ]
    assert len(measured([row])) == 1
    assert measured(others) == {}


def test_kernels_of_a_format_the_chip_does_not_compute_are_told_apart() -> None:
    kernels = [modelled(catalog.device(name), "gpt-oss-120b", 1) for name in ("h200-sxm", "mi355x")]
    assert [made.kernels for made in kernels if made] == ["gpt-oss-120b fp4 unpacked", "gpt-oss-120b fp4"]


def test_a_device_that_cannot_keep_the_promise_has_no_model() -> None:
    assert modelled(catalog.device("arc-pro-b60"), "llama2-70b", 1) is None


@pytest.mark.slow
def test_llama_on_three_amd_gpus_is_predicted_within_15_percent_by_other_results() -> None:
    known = results(read(DATA), seed=1, duration_s=120.0)
    for name in ("mi300x", "mi325x", "mi355x"):
        [asked] = [one for one in known if one.effects[0] == name and one.benchmark == "llama2-70b"]
        assert predicted(asked, without_cell(known, asked)) == pytest.approx(asked.requests_per_chip_s, rel=0.15)

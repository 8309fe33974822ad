"""A recorded run of vLLM through the simulated worker, and an endpoint measured from outside."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from devices.calibration.measured_files import read
from devices.calibration.replay import FITTED_REQUESTS, Factors, predictor, replayed, replays, worker_limits
from devices.calibration.sweep import Cell, sweep_fit
from devices.catalog import device, model
from devices.feasibility import Infeasible
from devices.fits.measurements import EngineRun, RequestTimes
from devices.natures.fitted import FittedPredictor
from devices.simulated.engine import Sequence, SimulatedWorker
from devices.worker import Limits

DATA = Path(__file__).parent / "data"
REQUESTS = [row for row in read(DATA / "requests.csv") if isinstance(row, RequestTimes)]
[RUN] = [row for row in read(DATA / "requests_runs.csv") if isinstance(row, EngineRun)]


@pytest.mark.slow
def test_the_rest_of_a_recorded_run_comes_out_within_five_percent() -> None:
    """Llama-3.1-8B on an RTX PRO 6000: three factors are fitted to the first 150 requests, none to those scored."""
    found = replayed(RUN, REQUESTS, seed=0)
    assert found.rows == len(REQUESTS) - FITTED_REQUESTS
    for quantity in ("ttft", "tpot", "e2e"):
        assert abs(found.mean[quantity]) < 0.05
        assert abs(found.p99[quantity]) < 0.05
        assert found.each[quantity].median_abs < 0.05


@pytest.mark.slow
def test_what_is_scored_is_not_what_was_fitted_to() -> None:
    """Answers that came twice as late after the first 150 change the score, not the fit."""
    first = sorted(REQUESTS, key=lambda request: request.arrival_s)[:FITTED_REQUESTS]
    late = {request.id for request in REQUESTS} - {request.id for request in first}
    lied = [replace(r, last_s=r.last_s + (r.last_s - r.arrival_s)) if r.id in late else r for r in REQUESTS]
    told, other = replayed(RUN, REQUESTS, seed=0), replayed(RUN, lied, seed=0)
    assert other.factors == told.factors
    assert other.mean["e2e"] < told.mean["e2e"] - 0.3


@pytest.mark.slow
def test_the_report_has_the_shape_of_the_others() -> None:
    plain = replays([(RUN, REQUESTS)], 0, lambda line: None).plain()
    assert set(plain) == {"overall", "by_device", "by_engine", "by_kind", "by_run", "seed"}
    run = plain["by_run"]
    assert isinstance(run, dict)
    assert {"mean_signed", "p99_signed", "median_abs", "p90_abs"} <= set(run[RUN.run]["ttft"])


def test_a_recorded_cache_holds_and_an_unrecorded_one_is_ample() -> None:
    seen = REQUESTS[:FITTED_REQUESTS]
    assert worker_limits(replace(RUN, kv_tokens=4096), seen).kv_tokens == 4096
    most = max(request.prompt_tokens + request.output_tokens for request in seen)
    assert worker_limits(RUN, seen).kv_tokens >= RUN.max_seqs * most


def test_a_limit_that_the_run_itself_exceeded_was_not_its_limit() -> None:
    together = [replace(request, first_s=1.0, last_s=2.0) for request in REQUESTS[:150]]
    assert worker_limits(RUN, together).max_seqs == 256
    one_by_one = [replace(r, first_s=float(i), last_s=i + 0.5) for i, r in enumerate(REQUESTS[:150])]
    assert worker_limits(RUN, one_by_one).max_seqs == RUN.max_seqs


def test_a_run_on_a_device_without_a_fit_cannot_start() -> None:
    with pytest.raises(Infeasible, match="mi355x has no fit"):
        predictor(replace(RUN, device=device("mi355x")))


def test_a_run_of_150_requests_leaves_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="more than 150"):
        replayed(replace(RUN, model=model("llama-3.1-8b")), REQUESTS[:100], seed=0)


# An endpoint measured from outside.

TRUE = FittedPredictor(
    fixed_s=6e-3,
    experts_s=0.0,
    missed=1.0,
    kv_s=3e-8,
    bounded_s=0.0,
    bound_tokens=0,
    decode_s=5e-5,
    prompt_s=1e-3,
    prompt_token_s=2e-5,
    pair_s=2e-9,
    bulk_s=0.0,
    chunk_tokens=32_768,
)
AMPLE = Limits(10**7, 1024, False, 32_768, 10**6)


def seen_from_outside(under: FittedPredictor, prompt: int, concurrent: int, output: int) -> Cell:
    """What a client would see of a batch sent together, without any network."""
    worker, name = SimulatedWorker(under, AMPLE), count()
    sequences = [Sequence(str(next(name)), prompt, output) for _ in range(concurrent)]
    for sequence in sequences:
        worker.submit(sequence, 0.0)
    worker.advance(1e6)
    last = max(sequences, key=lambda sequence: sequence.first_s)
    step_s = (last.ended_s - last.first_s) / (output - 1)
    return Cell(prompt, concurrent, output, min(s.first_s for s in sequences), step_s)


def sweep(under: FittedPredictor) -> list[Cell]:
    return [seen_from_outside(under, p, b, 64) for p in (128, 512, 2048, 8192) for b in (1, 4, 16, 64)]


def test_a_sweep_finds_the_coefficients_of_the_worker() -> None:
    """Within 5 %, but for the cache: the batch thins out while the last request is still being timed."""
    found = sweep_fit(sweep(TRUE))
    assert found.fixed_s == pytest.approx(TRUE.fixed_s, rel=0.05)
    assert found.sequence_s == pytest.approx(TRUE.decode_s, rel=0.05)
    assert found.kv_s == pytest.approx(TRUE.kv_s, rel=0.15)
    assert found.first_s == pytest.approx(TRUE.fixed_s + TRUE.prompt_s, rel=0.05)
    assert found.token_s == pytest.approx(TRUE.prompt_token_s, rel=0.05)
    assert found.pair_s == pytest.approx(TRUE.pair_s, rel=0.05)
    assert max(found.step_error, found.first_error) < 0.01


def test_a_sweep_predicts_what_it_did_not_see() -> None:
    found = sweep_fit(sweep(TRUE))
    assert found.decode_step_s(32, 32 * 3000) == pytest.approx(TRUE.decode_step_s(32, 32 * 3000), rel=0.1)
    assert found.first_token_s(4000) == pytest.approx(TRUE.prefill_s(4000), rel=0.05)


def test_a_knee_is_found_where_there_is_one() -> None:
    knee = replace(TRUE, bulk_s=8e-5, pair_s=0.0)
    found = sweep_fit(sweep(knee))
    assert found.knee_tokens == 2048
    assert found.token_s == pytest.approx(2e-5, rel=0.05)
    assert found.beyond_s == pytest.approx(1e-4, rel=0.05)


def test_one_batch_size_or_one_length_tells_nothing_apart() -> None:
    for cells in ([Cell(p, 1, 64, 0.1, 0.01) for p in (1, 2)], [Cell(9, b, 64, 0.1, 0.01) for b in (1, 2)]):
        with pytest.raises(ValueError, match="at least two"):
            sweep_fit(cells)


def test_factors_scale_what_they_name() -> None:
    changed = Factors(fixed=2, experts=3, decode=4, prompt=5).of(replace(TRUE, experts_s=1.0))
    assert (changed.fixed_s, changed.experts_s) == (2 * TRUE.fixed_s, 3.0)
    assert (changed.kv_s, changed.decode_s) == (4 * TRUE.kv_s, 4 * TRUE.decode_s)
    assert (changed.prompt_s, changed.prompt_token_s) == (5 * TRUE.prompt_s, 5 * TRUE.prompt_token_s)
    assert changed.pair_s == 5 * TRUE.pair_s

"""Nothing is scored on rows it was fitted to, and the table says what it should."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.calibration.fitting import fits
from devices.calibration.held_out import Held, held_iterations, held_loops
from devices.calibration.measured_files import read
from devices.calibration.samples import chip_key, iteration_samples, model_key
from devices.calibration.scores import score
from devices.calibration.validation import validated
from devices.fits.fit_file import FitFileError, from_yaml, to_yaml
from devices.fits.measurements import EndToEnd, Iteration

DATA = Path(__file__).parent / "data"
ITERATIONS = [row for row in read(DATA / "iterations.csv") if isinstance(row, Iteration)]
LOOPS = [row for row in read(DATA / "closed_loops.csv") if isinstance(row, EndToEnd)]


def quiet(line: str) -> None:
    pass


def of_model(held: list[Held], model: str) -> list[Held]:
    return [one for one in held if one.row.setup.model.id == model]


@pytest.mark.slow
def test_what_a_row_measured_does_not_change_what_is_predicted_for_it() -> None:
    """Times ten for one model on one chip: had any of those rows been seen, the predictions would follow."""
    told = list(held_iterations(ITERATIONS, (), quiet))
    chip = chip_key(next(r for r in ITERATIONS if r.setup.model.id == "bloom-176b").setup.device)

    def lied(row: Iteration) -> Iteration:
        hit = row.setup.model.id == "bloom-176b" and chip_key(row.setup.device) == chip
        return replace(row, seconds=row.seconds * 10) if hit else row

    wrong = list(held_iterations([lied(row) for row in ITERATIONS], (), quiet))
    before = [one.ms[1] for one in of_model(told, "bloom-176b") if one.ms]
    after = [one.ms[1] for one in of_model(wrong, "bloom-176b") if one.ms]
    assert before
    assert after == before


@pytest.mark.slow
def test_the_same_row_among_the_shipped_points_is_left_out_too() -> None:
    told = list(held_iterations(ITERATIONS, ITERATIONS, quiet))
    assert [one.ms for one in told] == [one.ms for one in held_iterations(ITERATIONS, (), quiet)]


def test_models_of_one_shape_and_chips_that_differ_in_power_only_are_left_out_together() -> None:
    from devices.catalog import device, model

    assert model_key(model("deepseek-v3")) == model_key(model("deepseek-v3.1"))
    assert model_key(model("llama-2-70b")) == model_key(model("llama-3.1-70b"))
    assert chip_key(device("h100-sxm")) == chip_key(device("h100-sxm-capped"))
    assert chip_key(device("h100-sxm")) != chip_key(device("h200-sxm"))


@pytest.mark.slow
def test_a_whole_system_can_be_left_out() -> None:
    def doubled(row: Iteration) -> Iteration:
        return replace(row, seconds=row.seconds * 2) if row.setup.device.id == "h100-sxm" else row

    wrong = [doubled(row) for row in ITERATIONS]
    told, lied = (list(held_iterations(rows, (), quiet, whole_device=True)) for rows in (ITERATIONS, wrong))
    for before, after in zip(told, lied, strict=True):
        if before.row.setup.device.id == "h100-sxm" and before.ms and after.ms:
            assert after.ms[1] == before.ms[1]


@pytest.mark.slow
def test_rows_of_undeclared_deployments_are_predicted_but_never_fitted_to() -> None:
    undeclared = [row for row in LOOPS if not row.declared]
    declared = [row for row in LOOPS if row.declared]
    assert undeclared
    told = {one.row.id: one.tpot for one in held_loops(declared, (), quiet)}
    both = {one.row.id: one.tpot for one in held_loops(LOOPS, (), quiet) if one.row.id in told}
    assert both == told


def test_a_row_published_twice_counts_once() -> None:
    once, twice = iteration_samples(ITERATIONS[:3]), iteration_samples([*ITERATIONS[:3], ITERATIONS[0]])
    assert list(once.weights) == [1, 1, 1]
    assert list(twice.weights) == [0.5, 1, 1, 0.5]


@pytest.mark.slow
def test_the_table_has_the_shape_programs_expect() -> None:
    plain = validated(LOOPS, (), 3, quiet).plain()
    assert {"overall", "by_device", "by_engine", "by_kind", "prior", "declared", "undeclared", "seed"} <= set(plain)
    overall = plain["overall"]
    assert isinstance(overall, dict)
    assert set(overall) == {"rows", "tpot", "ttft"}
    assert set(overall["tpot"]) == {"rows", "median_abs", "p90_abs", "median_signed", "interval"}
    by_kind = plain["by_kind"]
    assert isinstance(by_kind, dict)
    assert sum(line["rows"] for line in by_kind.values()) == overall["rows"]
    assert plain["declared"]["rows"] + plain["undeclared"]["rows"] == overall["rows"]  # type: ignore[index]


def test_iterations_are_scored_in_ms() -> None:
    overall = validated(ITERATIONS, (), 3, quiet).plain()["overall"]
    assert isinstance(overall, dict)
    assert set(overall) == {"rows", "ms"}
    assert overall["rows"] == len(ITERATIONS)


@pytest.mark.slow
def test_one_seed_gives_one_table() -> None:
    assert validated(ITERATIONS, (), 3, quiet) == validated(ITERATIONS, (), 3, quiet)


def test_progress_names_what_is_left_out() -> None:
    said: list[str] = []
    list(held_iterations(ITERATIONS, (), said.append))
    assert said[0].startswith("1 of ")
    assert any("without h100-sxm / bloom-176b" in line for line in said)


# Scores.


def test_a_score_is_of_relative_errors() -> None:
    found = score([(1.0, 1.1), (2.0, 1.8), (1.0, 1.3)], ["a", "a", "b"], seed=0)
    assert found is not None
    assert found.median_abs == pytest.approx(0.1)
    assert found.median_signed == pytest.approx(0.1)
    assert found.p90_abs == pytest.approx(np.quantile([0.1, 0.1, 0.3], 0.9))
    assert score([], [], seed=0) is None


def test_the_interval_widens_where_groups_disagree() -> None:
    pairs = [(1.0, 1.0 + 0.01 * (i % 10)) for i in range(100)]
    alike = score(pairs, [str(i // 10) for i in range(100)], seed=0)
    apart = score(pairs, [str(i % 10) for i in range(100)], seed=0)
    assert alike is not None
    assert apart is not None
    assert apart.interval[1] - apart.interval[0] > alike.interval[1] - alike.interval[0]
    assert alike.interval[0] <= alike.median_abs <= alike.interval[1]


# Files.


@pytest.mark.slow
def test_a_fit_survives_being_written_and_read() -> None:
    for name, fit in fits([*ITERATIONS, *LOOPS], "2026-11-22", quiet).items():
        again = from_yaml(to_yaml(fit), name)
        assert to_yaml(again) == to_yaml(fit)
        assert again.rows == fit.rows > 0
        groups = {"device": "h100-sxm", "engine": "vllm"}
        assert again.pooled.factors(groups) == pytest.approx(fit.pooled.factors(groups), rel=1e-3)


@pytest.mark.slow
def test_a_group_that_was_seen_is_predicted_better_than_one_that_was_not() -> None:
    fit = fits(LOOPS, "2026-11-22", quiet)["tpot.yaml"]
    both = [(group.seen[0], group.held[0]) for group in fit.groups.values() if group.held]
    assert np.median([seen for seen, _ in both]) < np.median([held for _, held in both])


@pytest.mark.parametrize("text", ["format: 2", "[]", "format: 1"])
def test_a_file_that_is_no_fit_is_refused(text: str) -> None:
    with pytest.raises(FitFileError, match=r"mine\.yaml"):
        from_yaml(text, "mine.yaml")

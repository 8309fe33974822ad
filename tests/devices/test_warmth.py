"""Programs compiled for fixed shapes."""

from dataclasses import replace

from devices.catalog import device
from devices.natures.warmth import Warmth

TPU = replace(device("tpu-v6e"), batch_buckets=(8, 16), length_buckets=(128, 512), compile_s=40.0)
COLD = Warmth.cold(TPU)


def test_a_fresh_worker_compiles_on_first_use() -> None:
    assert COLD.cold_s(5) == 40
    assert COLD.cold_s(5, [100, 500]) == 120
    assert COLD.cold_s(0) == 0


def test_a_program_compiled_once_stays_warm_for_its_whole_bucket() -> None:
    warmer = COLD.after(5, [100])
    assert warmer.cold_s(8, [128]) == 0
    assert warmer.cold_s(9, [129]) == 80
    assert COLD.cold_s(8) == 40  # a value: the old one has not changed


def test_beyond_the_largest_bucket_its_program_runs_again() -> None:
    assert COLD.after(16, [512]).cold_s(40, [5000]) == 0


def test_an_engine_that_warms_up_before_it_opens_never_compiles_again() -> None:
    warm = COLD.warmed()
    assert COLD.start_s == 160
    assert COLD.after(5).start_s == 120
    assert (warm.start_s, warm.cold_s(16, [1, 300])) == (0, 0)

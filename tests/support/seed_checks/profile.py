"""What the iteration models say of the chips the articles compare."""

from dataclasses import replace

from devices.catalog import device, model
from devices.economics.cost_figures import allin_kw
from devices.economics.operating_point import OperatingPoint, Promise, Workload, operating_point
from devices.economics.token_cost import token_energy
from devices.feasibility import limits
from devices.natures.choice import predictor
from devices.profile import DeviceProfile, Precision
from devices.worker import Predictor
from seed_checks.key import Checks

LLAMA = model("llama-3.1-70b")


def an_lpu_decodes_five_times_faster_than_h100() -> None:
    """Of the smallest H100 worker that holds the model; eight of them come closer."""
    lpu = predictor(device("groq-lpu-v1"), LLAMA, 576, Precision.INT8, Precision.FP16)
    gpu = predictor(device("h100-sxm"), LLAMA, 2, Precision.FP8, Precision.FP16)
    for chips, precision, name in ((576, Precision.INT8, "groq-lpu-v1"), (2, Precision.FP8, "h100-sxm")):
        assert limits(device(name), LLAMA, chips, precision, Precision.FP16).kv_tokens > 1000
    assert gpu.decode_step_s(1, 1000) >= 5 * lpu.decode_step_s(1, 1000)


def a_gpu_spends_more_energy_on_a_token_written_than_on_one_read() -> None:
    h100 = device("h100-sxm")
    paced, fits = _worker(h100, 4), limits(h100, LLAMA, 4, Precision.FP8, Precision.FP16)
    point = operating_point(paced, fits, Workload(1000, 500), Promise(ttft_s=2, tpot_s=0.1))
    assert isinstance(point, OperatingPoint)
    energy = token_energy(point, 4, allin_kw(h100) or 0)
    assert energy.joules_per_output > energy.joules_per_input > 0


def h20_prefills_slower_than_h800_and_decodes_as_fast() -> None:
    h20, h800 = _worker(device("h20"), 4), _worker(device("h800"), 4)
    assert h20.prefill_s(8192) > 2 * h800.prefill_s(8192)
    for sequences in (1, 4, 8):
        assert h20.decode_step_s(sequences, sequences * 2048) <= h800.decode_step_s(sequences, sequences * 2048)


def more_on_chip_memory_lowers_the_demand_for_bandwidth() -> None:
    plain = device("mtt-s5000")
    steps = [
        _worker(replace(plain, sram_bytes=size, sram_bytes_per_s=20 * plain.bandwidth_bytes_per_s), 8).decode_step_s(
            8, 16_000
        )
        for size in (0.0, 256e6, 1024e6)
    ]
    assert steps[0] > steps[1] > steps[2]


def a_tpu_is_up_five_nines() -> None:
    assert device("tpu-v7").availability == 0.99999


CHECKS: Checks = {
    ("001", "Groq LPU", "decode latency"): an_lpu_decodes_five_times_faster_than_h100,
    ("001", "GPU", "decode"): a_gpu_spends_more_energy_on_a_token_written_than_on_one_read,
    ("003", "H20 vs H800", "effective compute in large clusters"): h20_prefills_slower_than_h800_and_decodes_as_fast,
    ("003", "Moore Threads 2025 chips", "trait"): more_on_chip_memory_lowers_the_demand_for_bandwidth,
    ("004", "TPU system", "availability"): a_tpu_is_up_five_nines,
}


def _worker(of: DeviceProfile, chips: int) -> Predictor:
    return predictor(of, LLAMA, chips, Precision.FP8, Precision.FP16)

"""What one prediction costs: asked one by one, and for 1,000 pairs at once.

    python bench/predictor.py

CPU time of the fastest of many repetitions: on a shared machine the others measure the neighbours. One line per bar.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable

import numpy as np

from devices import catalog
from devices.natures import choice
from devices.natures.predictor_table import PredictorTable
from devices.profile import Precision
from devices.worker import Predictor

SCALAR_US, VECTOR_US, PAIRS = 2.0, 30.0, 1000
FLEET = {
    "GPU, dense": ("h200-sxm", "llama-3.1-70b", 4, Precision.FP8),
    "GPU, mixture": ("h200-sxm", "deepseek-v3", 8, Precision.FP8),
    "GPU, windows": ("h200-sxm", "gpt-oss-120b", 2, Precision.FP4),
    "SRAM": ("groq-lpu-v1", "llama-3.1-70b", 576, Precision.INT8),
    "TPU": ("tpu-v6e", "llama-3.1-70b", 8, Precision.BF16),
}


def fastest_us(work: Callable[[], object], calls: int, repeats: int) -> float:
    """CPU microseconds of one call, the collector switched off."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time_ns()
        for _ in range(calls):
            work()
        best = min(best, time.process_time_ns() - start)
    return best / calls / 1000


def measured(fleet: dict[str, Predictor], repeats: int) -> list[tuple[str, float, float]]:
    """Bars: what was measured, microseconds, and the most it may be."""
    found = []
    for name, predictor in fleet.items():
        for what, work in _questions(predictor).items():
            found.append((f"{name}: {what}", fastest_us(work, 5_000, repeats), SCALAR_US))
    for name, rows in {name: [one] * PAIRS for name, one in fleet.items()}.items():
        found.append((f"{name}: {PAIRS:,} pairs at once", _table_us(rows, repeats), VECTOR_US))
    mixed = [list(fleet.values())[i % len(fleet)] for i in range(PAIRS)]
    found.append((f"all of them mixed: {PAIRS:,} pairs at once", _table_us(mixed, repeats), VECTOR_US))
    return found


def _questions(predictor: Predictor) -> dict[str, Callable[[], object]]:
    """What a quote asks. A prompt of 2,000 tokens is the mean of the conversation traces."""
    return {
        "decode step": lambda: predictor.decode_step_s(64, 131_072.0),
        "prefill of 2,000 tokens": lambda: predictor.prefill_s(2000, 512),
    }


def _table_us(rows: list[Predictor], repeats: int) -> float:
    table, draw = PredictorTable(rows), np.random.default_rng(1)
    sequences = draw.integers(0, 256, len(rows))
    kv_tokens = draw.uniform(0, 1e6, len(rows))
    return fastest_us(lambda: table.decode_step_s(sequences, kv_tokens), 500, repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    fleet = {
        name: choice.predictor(catalog.device(device), catalog.model(model), chips, precision, Precision.FP16)
        for name, (device, model, chips, precision) in FLEET.items()
    }
    gc.disable()
    missed = 0
    for what, us, most_us in measured(fleet, options.repeats):
        missed += us > most_us
        print(f"{'met' if us <= most_us else 'MISSED'}: {what}: {us:.2f} us (bar {most_us:g} us)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""MLPerf Server: the highest valid rate of a GPU, predicted from other benchmarks and other GPUs, beside the measured.

    python bench/mlperf_server.py --data tests/devices/data/mlperf_server.csv
    python bench/mlperf_server.py --data mlperf_llm.csv.gz --devices mi300x mi325x mi355x

`--data` is a table of MLPerf results; the one in tests/devices/data is an excerpt that serves. Of each device and
benchmark the best valid closed submission counts. For each, the simulated engine says how many times longer than the
device's peaks allow an iteration must take for that rate to be the highest that keeps the promise. That logarithm is
taken as the sum of what the device and what the benchmark cost, a benchmark in another number format being another
one, and a rate is predicted by the engine from what the others say alone:

    cell left out    known are the device's own results of other benchmarks, and all other devices'
    device left out  no result of the device is known: the mean of its vendor's other devices stands in

Exit 1 when a device asked for is further off than 15 % with its cell left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from devices.calibration.measured_files import read
from devices.calibration.server_benchmark import (
    BENCHMARKS,
    SYSTEM_CHIPS,
    Cell,
    predicted,
    results,
    without_cell,
    without_device,
)

BAR = 0.15


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every device asked for is within the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="table of MLPerf results")
    parser.add_argument("--devices", nargs="+", default=["mi300x", "mi325x", "mi355x"])
    parser.add_argument("--benchmark", default="llama2-70b", choices=sorted(BENCHMARKS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    known = results(read(options.data), options.seed)
    head = ("device", "kernels", "chips a worker", "factor", "req/s, 8 chips", "cell left out", "device left out")
    print(f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", sep="\n")
    errors: dict[Cell, float] = {}
    for asked in known:
        line = [*asked.effects, str(asked.model.chips), f"{asked.factor:.2f}"]
        line.append(f"{asked.requests_per_chip_s * SYSTEM_CHIPS:.1f}")
        for left_out in (without_cell, without_device):
            rate = predicted(asked, left_out(known, asked))
            error = rate / asked.requests_per_chip_s - 1
            line.append("-" if math.isnan(error) else f"{rate * SYSTEM_CHIPS:.1f} ({error:+.1%})")
            if left_out is without_cell and not math.isnan(error):
                errors[asked.device.id, asked.benchmark] = error
        print(f"| {' | '.join(line)} |")
    print(f"cells left out: {len(errors)}, median error {np.median(np.abs(list(errors.values()))):.1%}")
    missed = [name for name in options.devices if not abs(errors.get((name, options.benchmark), math.inf)) <= BAR]
    print(f"further off than {BAR:.0%}: {', '.join(missed) or 'none'} of {', '.join(options.devices)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

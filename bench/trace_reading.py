"""How fast traces are read and workloads made, in rows per CPU second: this is part of every simulation's time.

    python bench/trace_reading.py                  # a million rows of our CSV format, made here
    python bench/trace_reading.py FILE [FILE ...]  # traces of your own too

Prints one line per source, best of three, and one for the bar of 300,000 rows/s of plain CSV; exit 1 when missed.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from loadgen.lengths import Lognormal
from loadgen.presets import PRESETS
from loadgen.row import Row
from loadgen.workload import Workload

ROWS_PER_S = 300_000
MADE = Workload(rate_per_s=100, duration_s=10_000, input=Lognormal(512, 0.5), output=Lognormal(256, 0.5), seed=1)


def rows_per_s(what: str, source: Callable[[], Iterator[Row]]) -> float:
    """Best of three, printed."""
    best = 0.0
    for _ in range(3):
        began_s = time.process_time()
        rows = sum(1 for _ in source())
        best = max(best, rows / (time.process_time() - began_s))
    print(f"{what}: {rows:,} rows, {best:,.0f} rows/s")
    return best


def main(files: list[str]) -> int:
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.csv"
        with plain.open("w") as text:
            text.write("arrival_s,input_tokens,output_tokens\n")
            text.writelines(f"{row.arrival_s:.4f},{row.input_tokens},{row.output_tokens}\n" for row in MADE.rows())
        reached = rows_per_s("plain CSV", Workload(plain).rows)
    rows_per_s("made, lognormal", MADE.rows)
    for name, preset in PRESETS.items():
        made = Workload(rate_per_s=20, duration_s=1000, arrivals=preset.arrivals, preset=preset, seed=1)
        rows_per_s(f"made, {name}", made.rows)
    for file in files:
        rows_per_s(file, Workload(Path(file)).rows)
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    print(f"plain CSV >= {ROWS_PER_S:,} rows/s: {'met' if reached >= ROWS_PER_S else 'MISSED'} ({reached:,.0f})")
    return 0 if reached >= ROWS_PER_S else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

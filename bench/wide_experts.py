"""Experts spread over all chips of a worker: times per output token, predicted from published figures, and measured.

    python bench/wide_experts.py --data tests/devices/data/closed_loops.csv
    python bench/wide_experts.py --data e2e_silicon_inferencex.csv.gz

`--data` is a table of closed-loop runs. Rows count whose every chip attends to sequences of its own, with the experts
of a mixture spread over all of them, and that say how many workers there were. Beside the error of
`natures/wide.py` stands what the same chips would be predicted to take as one tensor-parallel group. What the chips
attain is a family prior (catalog/priors.yaml): runs of H200 and B200 had a part in its medians, of GB300 none.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from devices.calibration.closed_loop import Loop
from devices.calibration.measured_files import read
from devices.fits.measurements import EndToEnd
from devices.natures.choice import prior
from devices.natures.wide import wide
from devices.profile import Precision
from devices.worker import Predictor

Errors = dict[tuple[str, str, int], list[tuple[float, float]]]
"""Relative errors wide and tensor-parallel, by device, way of serving and chips."""


def wide_rows(path: Path, unknown: list[str]) -> Iterator[EndToEnd]:
    """Those that spread the experts of a mixture and attend on every chip."""
    for row in read(path, unknown):
        if isinstance(row, EndToEnd) and row.declared and row.setup.model.experts:
            split = row.decode.split
            if split.experts_sharded and split.replicas == split.chips > 1:
                yield row


def tpot_s(predictor: Predictor, loop: Loop) -> float:
    """The mean iteration of a steady loop; where one pool does both, a share of them has prompts in it."""
    row, running = loop.row, round(loop.running)
    held = running * (row.prompt_tokens + row.output_tokens / 2)
    decode_s = predictor.decode_step_s(running, held)
    if row.prefill is not None:
        return decode_s
    prompts = running / row.output_tokens
    chunks = [(row.prompt_tokens, 0)] * max(1, round(prompts))
    share = min(prompts, 1.0)
    return (1 - share) * decode_s + share * predictor.step_s(running, held, chunks)


def errors(rows: Iterator[EndToEnd]) -> Errors:
    """Predicted over measured, less one."""
    found: Errors = defaultdict(list)
    for row in rows:
        setup, chips, loop = row.setup, row.decode.split.chips, Loop.of(row)
        worker = (setup.device, setup.model, chips, setup.precision, Precision.BF16, setup.device.max_batched_tokens)
        both = tuple(tpot_s(kind(*worker), loop) / row.tpot_s - 1 for kind in (wide, prior))
        found[setup.device.id, row.kind, chips].append((both[0], both[1]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Always 0: figures, whichever way they fall."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="table of closed-loop runs")
    options = parser.parse_args(arguments)
    unknown: list[str] = []
    found = errors(wide_rows(options.data, unknown))
    head = ("device", "served", "chips", "rows", "wide: median", "signed", "one tp group: median", "signed")
    print(f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", sep="\n")
    for (device, served, chips), some in sorted(found.items()):
        print(_line((device, served, str(chips)), some))
    print(_line(("all", "", ""), [pair for some in found.values() for pair in some]))
    if unknown:
        print(f"{len(unknown)} rows left out: names the catalogue does not know", file=sys.stderr)
    return 0


def _line(name: tuple[str, str, str], some: Sequence[tuple[float, float]]) -> str:
    cells = [*name, str(len(some))]
    for column in np.array(some).reshape(-1, 2).T:
        cells += [f"{np.median(np.abs(column)):.0%}", f"{np.median(column):+.0%}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())

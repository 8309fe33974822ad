"""The highest valid rates of MLPerf's Server scenario, by device and by benchmark, so that one tells of others.

For each submission the engine says how many times longer than the device's peaks allow an iteration must take for the
submitted rate to be the highest that keeps the promise. Such factors are products of what the device and what the
benchmark in its number format cost; the factor of a cell that is left out follows from all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from devices import catalog, feasibility
from devices.calibration.server_rate import Lengths, Stream, highest_rate, slower, slowest
from devices.economics.cheapest import NoOffer, cheapest
from devices.economics.operating_point import Promise, Workload
from devices.economics.rents import Rent
from devices.fits.measurements import Measurement, ServerRun
from devices.natures.hbm import HbmPredictor
from devices.profile import DeviceProfile, Nature, Precision
from devices.worker import Limits

SYSTEM_CHIPS = 8
"""Most submissions are one box of so many; its requests are dealt out to its workers in turn."""
DURATION_S = 600.0
"""The shortest run that counts (mlperf.conf of mlcommons/inference)."""
MAX_SEQS = 4096
"""Submissions set the batch as high as they need; published configurations go beyond the 1,024 of engine defaults."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a Server scenario sends and promises (mlperf.conf of mlcommons/inference)."""

    model: str
    lengths: Lengths
    promise: Promise


# Prompts of llama2-70b: 24,576 samples of OpenOrca, 48 to 1,021 tokens, 222 on average (the data set as counted in
# FlashLab-MBZUAI/HBFSim validation/calibration); those of the others are not published and assumed.
# Answers: medians and tails are end-to-end over time per token of the submissions, means their tokens over samples.
BENCHMARKS = {
    "llama2-70b": Benchmark("llama-2-70b", Lengths(175, 0.7, 245, 0.6, 1, 1024), Promise(2.0, 0.2)),
    "mixtral-8x7b": Benchmark("mixtral-8x7b", Lengths(175, 0.7, 112, 0.7, 1, 1024), Promise(2.0, 0.2)),
    "gpt-oss-120b": Benchmark("gpt-oss-120b", Lengths(800, 0.7, 1300, 0.3, 1, 10_240), Promise(3.0, 0.08)),
}

Cell = tuple[str, str]
"""Device and benchmark."""


@dataclass(frozen=True, slots=True)
class Modelled:
    """How a device would run a benchmark at the shares of its peaks that are taken of all devices alike.

    Attributes:
        kernels: benchmark and number format, by which kinds of work are told apart.
    """

    chips: int
    kernels: str
    predictor: HbmPredictor
    limits: Limits
    stream: Stream
    promise: Promise

    def factor(self, requests_per_chip_s: float) -> float:
        """Times longer an iteration takes than modelled, if so many are the most that keep the promise."""
        return slowest(self.predictor, self.limits, self.stream, self.promise, requests_per_chip_s * self.chips)

    def rate(self, factor: float, guess: float) -> float:
        """The most requests a second and chip at that factor."""
        paced = slower(self.predictor, factor)
        return highest_rate(paced, self.limits, self.stream, self.promise, guess * self.chips) / self.chips


@dataclass(frozen=True, slots=True)
class Result:
    """The best valid submission of one cell, and the factor that explains it."""

    device: DeviceProfile
    benchmark: str
    requests_per_chip_s: float
    model: Modelled
    factor: float

    @property
    def effects(self) -> tuple[str, str]:
        """What its factor is the product of."""
        return self.device.id, self.model.kernels


def measured(rows: Iterable[Measurement]) -> dict[Cell, float]:
    """Requests a second and chip of the best valid closed submissions on devices of one kind."""
    best: dict[Cell, float] = {}
    for run in rows:
        if not isinstance(run, ServerRun) or run.device is None or not run.valid:
            continue
        name = run.benchmark.removesuffix(".9").removesuffix("-99")
        if run.scenario == "Server" and run.division == "closed" and name in BENCHMARKS:
            cell = (run.device.id, name)
            best[cell] = max(best.get(cell, 0.0), run.requests_per_s / run.chips)
    return best


def modelled(device: DeviceProfile, name: str, seed: int, duration_s: float = DURATION_S) -> Modelled | None:
    """Half of the arithmetic, 80 % of the bandwidth, 5 us a collective, 4 ms a step of 80 layers, whatever the device.

    Nothing of what the catalogue knows of its efficiency, some of which was learned from these very results. None where
    no configuration keeps the promise.
    """
    benchmark = BENCHMARKS[name]
    bare = replace(
        device,
        compute_efficiency=0.5,
        bandwidth_efficiency=0.8,
        collective_s=5e-6,
        step_overhead_s=0.004,
        sequence_overhead_s=0.0,
        max_seqs=MAX_SEQS,
    )
    model, kv = catalog.model(benchmark.model), Precision.FP8
    prompts, outputs = benchmark.lengths.drawn(4096, 0)
    mean = Workload(int(prompts.mean()), int(outputs.mean()))
    offer = cheapest(bare, model, mean, benchmark.promise, Rent(1.0, "any"), kv_precision=kv)
    if device.nature is not Nature.HBM or isinstance(offer, NoOffer) or offer.configuration.wide:
        return None
    chips, precision = offer.configuration.chips, offer.configuration.precision
    unpacked = "" if precision in device.flops_per_s else " unpacked"
    return Modelled(
        chips=chips,
        kernels=f"{name} {precision.value}{unpacked}",
        predictor=HbmPredictor.of(bare, model, chips, precision, kv, bare.max_batched_tokens),
        limits=feasibility.limits(bare, model, chips, precision, kv, MAX_SEQS),
        stream=Stream(benchmark.lengths, max(SYSTEM_CHIPS // chips, 1), duration_s, seed),
        promise=benchmark.promise,
    )


def results(rows: Iterable[Measurement], seed: int, duration_s: float = DURATION_S) -> list[Result]:
    """All cells of a table, each by itself."""
    found = []
    for (device_id, name), rate in sorted(measured(rows).items()):
        device = catalog.device(device_id)
        model = modelled(device, name, seed, duration_s)
        if model is not None:
            found.append(Result(device, name, rate, model, model.factor(rate)))
    return found


def additive(known: Sequence[Result]) -> dict[str, float]:
    """Logarithms of factors as a sum of effects, by least squares; what the cells leave open is as small as can be."""
    names = sorted({name for result in known for name in result.effects})
    rows = np.array([[float(name in result.effects) for name in names] for result in known])
    found = np.linalg.lstsq(rows, np.log([result.factor for result in known]), rcond=None)[0]
    return dict(zip(names, found.tolist(), strict=True))


def without_cell(known: Sequence[Result], asked: Result) -> float | None:
    """The factor of a result from all others; None where its device or its kernels have no other."""
    effects = additive([result for result in known if result is not asked])
    device, kernels = asked.effects
    return math.exp(effects[device] + effects[kernels]) if device in effects and kernels in effects else None


def without_device(known: Sequence[Result], asked: Result) -> float | None:
    """The same without any result of its device, whose effect is taken from its vendor's other devices."""
    rest = [result for result in known if result.device.id != asked.device.id]
    kin = sorted({result.device.id for result in rest if result.device.vendor == asked.device.vendor})
    effects = additive(rest)
    if not kin or asked.model.kernels not in effects:
        return None
    return math.exp(sum(effects[device] for device in kin) / len(kin) + effects[asked.model.kernels])


def predicted(asked: Result, factor: float | None) -> float:
    """Requests a second and chip; NaN where there is nothing to learn the factor from."""
    return math.nan if factor is None else asked.model.rate(factor, asked.requests_per_chip_s)

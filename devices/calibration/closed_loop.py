"""A closed loop in steady state: which iteration its decodes see, and what stands before its first tokens."""

from __future__ import annotations

from dataclasses import dataclass

from devices.fits.measurements import EndToEnd, Setup, Split
from devices.fits.terms import LAUNCH_S, Shape, Work
from devices.profile import Precision
from devices.roofline import REFERENCE_LAYERS, experts_read

FIRST_TERMS = ("front", "launch", "prompt", "queue", "step", "slot", "transfer", "weights", "launches")
"""What a first token waits for; see `first_token`."""
FIRST_CENTRE = (1.0, 1.0, 2.0, 0.1, 1.0, 1.0, 1.0, 1.0, 0.05)
FRONT_S = 0.03
"""Reference for HTTP, tokenising and scheduling: first tokens of small models at low load take 30 to 105 ms."""
FIRST_LAUNCH_S = 0.02
"""Reference for what launching a prompt of 80 layers takes beyond its arithmetic."""
HBM_SHARE, RESERVED_BYTES = 0.96, 6e9
"""Of a chip's memory, what an engine takes, and of that what activations and graphs take before the cache."""
READ_PRECISION = Precision.BF16
"""Of the cache, for what is read each step: the width that fits were made with and pools have by default."""
NOMINAL_PROMPT = 2.5
"""Ideal prefill times a prompt really takes, for balancing the two sides of a split before anything is fitted."""

NOMINAL_STEP = 1.3
"""Ideal iterations one iteration really takes, for the same."""


def kept_precision(weights: Precision) -> Precision:
    """Of the cache, for what fits; sources do not say. Runs of 8-bit checkpoints hold more than 16 bits would allow."""
    return Precision.FP8 if weights.bits <= 8 else Precision.BF16


def running_most(setup: Setup, split: Split, tokens: int) -> float:
    """Sequences of that many tokens whose cache fits on one worker; at least one, or nothing would run."""
    device, model = setup.device, setup.model
    ways = split.chips / split.replicas
    dense, experts = experts_read(model)
    weights = (dense / ways + experts / split.chips) * setup.precision.weight_bytes
    free = max(device.memory_bytes * HBM_SHARE - RESERVED_BYTES - weights, 1e9)
    each = model.sequence_bytes(tokens, kept_precision(setup.precision)) / min(ways, max(model.kv_heads, 1))
    return max(free / each * split.replicas, 1.0)


@dataclass(frozen=True, slots=True)
class Loop:
    """A closed loop taken apart.

    Attributes:
        running: sequences decoding on one worker.
        step: the mean iteration of a decode worker, as ideal seconds of `devices.fits.terms.TERMS`.
        waiting: for each running sequence, how many clients wait for a slot.
    """

    row: EndToEnd
    running: float
    step: list[float]
    waiting: float

    @classmethod
    def of(cls, row: EndToEnd) -> Loop:
        """Without any fitted factor, so that one reading serves every fit."""
        shared = row.concurrency / max(row.decode.workers, 1)
        most = running_most(row.setup, row.decode.split, row.prompt_tokens + row.output_tokens)
        shape = Shape.of(row.setup, row.decode.split, READ_PRECISION)
        running = max(min(shared, most), 1.0)
        if row.prefill is not None:
            running = _fed(row, shape, running)
        return cls(row, running, _step(row, shape, running), max(shared - most, 0.0) / running)

    def first_token(self, tpot_s: float) -> list[float]:
        """Ideal seconds of each of `FIRST_TERMS`, given what a step takes.

        `queue` is the prompts of all clients one after the other: they start together, and stay bunched for a while.
        `slot` is waiting for another sequence to end, where the cache is full.
        """
        row, model = self.row, self.row.setup.model
        side = row.prefill or row.decode
        prompt_s, weights_s, transfer_s = _prompt(row.setup, side.split, row.prompt_tokens)
        launch_s = FIRST_LAUNCH_S * model.layers / REFERENCE_LAYERS
        if row.prefill is None:
            queued_s, launches_s = prompt_s * self.running, LAUNCH_S * model.layers / REFERENCE_LAYERS * self.running
        else:
            decoding_s = row.output_tokens * tpot_s
            ahead = row.concurrency / max(side.workers, 1)
            backlog_s = max(ahead * NOMINAL_PROMPT * prompt_s - decoding_s, 0.0) / FIRST_CENTRE[3]
            queued_s = prompt_s * min(ahead, 64.0) + backlog_s
            launches_s = LAUNCH_S * model.layers / REFERENCE_LAYERS * min(ahead, 64.0)
        slot_s = self.waiting * row.output_tokens * tpot_s
        return [FRONT_S, launch_s, prompt_s, queued_s, tpot_s, slot_s, transfer_s, weights_s, launches_s]


def _step(row: EndToEnd, shape: Shape, running: float) -> list[float]:
    """Each running sequence brings one prompt for every output it finishes, unless prompts run elsewhere."""
    held = running * (row.prompt_tokens + row.output_tokens / 2)
    if row.prefill is not None:
        return shape.seconds(Work(running, held))
    return shape.seconds(Work(running, held, running / row.output_tokens, row.prompt_tokens))


def _fed(row: EndToEnd, shape: Shape, running: float) -> float:
    """Sequences a decode worker runs when prefill may be the bottleneck: clients divide by how long a stage takes."""
    assert row.prefill is not None
    prompt_s = NOMINAL_PROMPT * _prompt(row.setup, row.prefill.split, row.prompt_tokens)[0]
    per_s = max(row.prefill.workers, 1) / prompt_s
    for _ in range(3):
        step = _step(row, shape, running)
        decoding_s = row.output_tokens * NOMINAL_STEP * sum(step)
        rate = min(per_s, row.concurrency / (decoding_s + prompt_s))
        running = min(running, max(rate * decoding_s / max(row.decode.workers, 1), 1.0))
    return running


def _prompt(setup: Setup, split: Split, tokens: int) -> tuple[float, float, float]:
    """Ideal arithmetic, weight reading and transfers of one prompt."""
    shape = Shape.of(setup, split, READ_PRECISION)
    arithmetic_s = shape.token_s * tokens + shape.pair_s * tokens * tokens / 2
    return arithmetic_s, shape.dense_s + shape.experts_s, shape.transfer_s * tokens

"""What an iteration is made of: ideal seconds of each kind of work at the chip's peaks. Fits say how often each counts.

Because every term scales with the shape of the model, the chips and the chip's peaks, a factor learned on one model
speaks about another on the same chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from devices.fits.measurements import Setup, Split
from devices.formats import attention_flops_per_s, flops_per_s
from devices.profile import DeviceProfile, Precision
from devices.roofline import ACTIVATION_BYTES, REFERENCE_LAYERS, cache_reads, experts_read

TERMS = (
    "fixed",
    "launch",
    "prompt_launch",
    "collective",
    "dense",
    "experts",
    "kv",
    "decode_flops",
    "prompt_flops",
    "pairs",
    "sequences",
    "transfer",
    "bulk",
)
FIXED_S = 1e-3
"""Reference for what an iteration costs whatever the model: scheduling, sampling, handing over the tokens."""
LAUNCH_S = 3e-3
"""Reference for launching 80 layers: what fits of public samples centre on; the fit scales it."""
COLLECTIVE_S = 3e-6
"""Reference for one all-reduce and one doubling of the chips."""
SEQUENCE_S = 40e-6
"""Reference for scheduling and sampling one sequence."""


BULK_TOKENS = 2048
"""The knee: all-reduces of more tokens than this leave the engines' one-shot kernels and cost more a byte. Prefills of
Llama-2-70B on 8 H100 take 57 ms per 1,024 tokens up to here and 110 to 120 ms beyond (splitwise-sim)."""


@dataclass(frozen=True, slots=True)
class Work:
    """One iteration, or the mean of many: counts may be fractions.

    Attributes:
        decodes, kv_tokens: sequences that get one token each, and the tokens they hold together.
        prompts, new_tokens, context_tokens: chunks, their length, and what each found in the cache.
    """

    decodes: float
    kv_tokens: float
    prompts: float = 0.0
    new_tokens: float = 0.0
    context_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Shape:
    """Coefficients of the terms for one setup and split: seconds per unit of work, before any factor."""

    launch_s: float
    collective_s: float
    dense_s: float
    experts_s: float
    missed: float
    kv_s: float
    bounded_s: float
    bound_tokens: int
    token_s: float
    pair_s: float
    sequence_s: float
    transfer_s: float

    @classmethod
    def of(cls, setup: Setup, split: Split, kv_precision: Precision) -> Shape:
        """Attention is copied `replicas` times and cut over the rest; experts are cut over all chips."""
        device, model = setup.device, setup.model
        chips, ways = split.chips * device.devices_per_chip, split.chips * device.devices_per_chip / split.replicas
        dense, experts = experts_read(model)
        width = setup.precision.weight_bytes
        reads = cache_reads(model, kv_precision)
        spread = split.replicas * min(ways, max(model.kv_heads, 1)) * bandwidth(device)
        return cls(
            launch_s=LAUNCH_S * model.layers / REFERENCE_LAYERS,
            collective_s=COLLECTIVE_S * 2 * model.layers * log2(chips),
            dense_s=dense * width / ways / bandwidth(device),
            experts_s=experts * width / chips / bandwidth(device),
            missed=1 - model.experts_per_token / model.experts if model.experts else 1.0,
            kv_s=reads.growing / spread,
            bounded_s=reads.bounded / spread,
            bound_tokens=reads.bound,
            token_s=2 * model.active_parameters / split.chips / peak(device, setup.precision),
            pair_s=4 * model.layers * model.heads * model.head_dim / split.chips / attention_flops_per_s(device),
            sequence_s=SEQUENCE_S / split.replicas,
            transfer_s=_transfer_s(setup, split),
        )

    def seconds(self, work: Work) -> list[float]:
        """Ideal seconds of each of `TERMS`."""
        tokens = work.prompts * work.new_tokens
        share, each = min(work.prompts, 1.0), max(work.prompts, 1.0)  # iterations with prompts, and how many they have
        read = self._experts_read_s(work) if self.experts_s else 0.0
        bounded = min(work.kv_tokens, self.bound_tokens * work.decodes)
        return [
            FIXED_S,
            self.launch_s,
            self.launch_s * share,
            self.collective_s,
            self.dense_s,
            read,
            self.kv_s * work.kv_tokens + self.bounded_s * bounded,
            self.token_s * work.decodes,
            self.token_s * tokens,
            self.pair_s * tokens * (work.context_tokens + work.new_tokens / 2),
            self.sequence_s * work.decodes,
            self.transfer_s * (work.decodes + tokens),
            self.transfer_s * share * max(each * work.new_tokens - BULK_TOKENS, 0.0),
        ]

    def _experts_read_s(self, work: Work) -> float:
        """Fewer than one prompt an iteration: so many iterations have one, the others have none."""
        without = 1 - self.missed**work.decodes
        each = max(work.prompts, 1.0)
        within = 1 - self.missed ** (work.decodes + each * work.new_tokens)
        return float(self.experts_s * (without + min(work.prompts, 1.0) * (within - without)))


def bandwidth(device: DeviceProfile) -> float:
    """Bytes per second and die, as engines count dies."""
    return device.bandwidth_bytes_per_s / device.devices_per_chip


def peak(device: DeviceProfile, precision: Precision) -> float:
    """FLOP/s of a chip on such weights; in its widest format where it cannot use them at all."""
    return flops_per_s(device, precision) or attention_flops_per_s(device)


def _transfer_s(setup: Setup, split: Split) -> float:
    """A ring all-reduce sends 2 (n - 1) / n of a token's vector over each chip's link, twice a layer."""
    link = setup.device.scaleup_bytes_per_s
    if not link or split.chips == 1:
        return 0.0
    vector = setup.model.hidden * ACTIVATION_BYTES
    return 4 * setup.model.layers * vector * (split.chips - 1) / split.chips / link / split.replicas

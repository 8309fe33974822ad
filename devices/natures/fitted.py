"""Predictions from fits to measurements, where measurements of that device exist."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

from devices import catalog
from devices.fits.fit_file import FitFile, from_yaml
from devices.fits.measurements import Setup, Split
from devices.fits.terms import BULK_TOKENS, FIXED_S, Shape
from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import read_s
from devices.worker import DecodeLine

UNKNOWN_ERROR = 1.0
"""Where a device was measured with one model only, so that nothing could be left out."""
CLOSED_LOOP, ITERATION = "tpot.yaml", "iteration.yaml"
STACKS = {
    "vllm 0.19 llmservingsim": "composed-from-measured-ops",
    "vllm aiconfigurator db": "interpolated-from-measured-ops",
    "vllm 2024": "fit",
    "vllm 2023 splitwise": "measured",
}
"""Stacks that stand for today's engines, newest first, for devices of which only iterations were measured; and how the
figures of each came about."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Factors on the terms of `devices.fits.terms`, and where they come from.

    Attributes:
        error: median absolute error of predictions for this group: of rows the fit has seen if the group itself was
            measured, else of what was left out of it on that device.
        rows: measured rows of this very group; 0 where it is predicted from its parents.
    """

    factors: dict[str, float]
    error: float
    rows: int
    source: str


@dataclass(frozen=True, slots=True)
class FittedPredictor:
    """Seconds of one iteration as a sum of scaled terms:

        fixed_s + experts_s * (1 - missed^S) + kv_s * K + decode_s * B + [prompts] * prompt_s + prompt_token_s * T
        + pair_s * sum(P * (context + P / 2)) + bulk_s * max(T - 2048, 0)

    S all new tokens, B decodes, K tokens of KV they hold, T prompt tokens in chunks of P.

    Attributes:
        bounded_s, bound_tokens: reading layers that look back only so far, per token and up to so many a sequence.
        chunk_tokens: tokens one iteration prefills at most.
    """

    fixed_s: float
    experts_s: float
    missed: float
    kv_s: float
    bounded_s: float
    bound_tokens: int
    decode_s: float
    prompt_s: float
    prompt_token_s: float
    pair_s: float
    bulk_s: float
    chunk_tokens: int

    @classmethod
    def of(
        cls,
        device: DeviceProfile,
        model: ModelProfile,
        chips: int,
        precision: Precision,
        kv_precision: Precision,
        chunk_tokens: int,
        factors: dict[str, float],
    ) -> FittedPredictor:
        """The shape's ideal seconds, each times its factor."""
        shape = Shape.of(Setup(device, model, "", "", precision), Split(chips), kv_precision)
        state_s = read_s(device, chips, 2 * model.state_bytes_per_sequence)
        return cls(
            fixed_s=factors["fixed"] * FIXED_S
            + factors["launch"] * shape.launch_s
            + factors["collective"] * shape.collective_s
            + factors["dense"] * shape.dense_s,
            experts_s=factors["experts"] * shape.experts_s,
            missed=shape.missed,
            kv_s=factors["kv"] * shape.kv_s,
            bounded_s=factors["kv"] * shape.bounded_s,
            bound_tokens=shape.bound_tokens,
            decode_s=factors["decode_flops"] * shape.token_s
            + factors["sequences"] * shape.sequence_s
            + factors["transfer"] * shape.transfer_s
            + state_s,
            prompt_s=factors["prompt_launch"] * shape.launch_s,
            prompt_token_s=factors["prompt_flops"] * shape.token_s + factors["transfer"] * shape.transfer_s,
            pair_s=factors["pairs"] * shape.pair_s,
            bulk_s=factors["bulk"] * shape.transfer_s,
            chunk_tokens=chunk_tokens,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """The sum over its chunks, in closed form: their attention pairs add up to those of the undivided prompt."""
        full, rest = divmod(new_tokens, self.chunk_tokens)
        seconds = self.pair_s * new_tokens * (cached_tokens + new_tokens / 2)
        if full:
            seconds += full * self._chunk_s(self.chunk_tokens)
        return seconds + self._chunk_s(rest) if rest else seconds

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        seconds = self.fixed_s + self.decode_s * sequences + self.kv_s * kv_tokens
        if self.experts_s:
            seconds += self.experts_s * (1.0 - self.missed**sequences)
        if self.bounded_s:
            most = sequences * self.bound_tokens
            seconds += self.bounded_s * (kv_tokens if kv_tokens < most else most)
        return seconds

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        seconds, most = self.decode_step_s(sequences, kv_tokens), sequences * self.bound_tokens
        if self.bounded_s and kv_tokens < most:
            return seconds, self.kv_s + self.bounded_s, most
        return seconds, self.kv_s, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        if not chunks:
            return self.decode_step_s(decodes, kv_tokens)
        tokens, pairs = 0, 0.0
        for new, context in chunks:
            tokens += new
            pairs += new * (context + new / 2)
        seconds = self.fixed_s + self.prompt_s + self.decode_s * decodes + self.kv_s * kv_tokens
        seconds += self.prompt_token_s * tokens + self.pair_s * pairs
        if self.experts_s:
            seconds += self.experts_s * (1.0 - self.missed ** (decodes + tokens))
        if self.bounded_s:
            most = decodes * self.bound_tokens
            seconds += self.bounded_s * (kv_tokens if kv_tokens < most else most)
        if tokens > BULK_TOKENS:
            seconds += self.bulk_s * (tokens - BULK_TOKENS)
        return seconds

    def _chunk_s(self, tokens: int) -> float:
        """One chunk alone, without its attention."""
        seconds = self.fixed_s + self.prompt_s + self.prompt_token_s * tokens
        if self.experts_s:
            seconds += self.experts_s * (1.0 - self.missed**tokens)
        return seconds + self.bulk_s * max(tokens - BULK_TOKENS, 0)


def find(device_id: str, model_id: str, engine: str, precision: Precision) -> Coefficients | None:
    """Factors for a worker; None for a device nobody measured. Closed loops come first: they hold the whole engine."""
    model = catalog.model(model_id)
    loops = _shipped(CLOSED_LOOP)
    mixture = "yes" if model.experts else "no"
    if ("device", device_id) in loops.pooled.effects:
        start = f"{device_id} / {model_id} / {engine} / {precision.value} / "
        group = _largest(loops, start, " / agg")
        asked = {"engine": engine, "device": device_id, "precision": precision.value, "mixture": mixture}
        return _coefficients(loops, asked | {"sharded": "no", "replicated": "no"}, group, device_id)
    steps = _shipped(ITERATION)
    if ("device", device_id) not in steps.pooled.effects:
        return None
    stack = next((name for name in STACKS if _largest(steps, f"{device_id} / ", f" / {name}")), None)
    if stack is None:
        return None
    group = _largest(steps, f"{device_id} / {model_id} / ", f" / {stack}")
    asked = {"stack": stack, "kind": STACKS[stack], "device": device_id, "mixture": mixture}
    return _coefficients(steps, asked, group, device_id)


def _largest(fit: FitFile, start: str, end: str) -> str:
    """The group of most rows so named, "" if there is none; engine versions compete here."""
    found = [name for name in fit.groups if name.startswith(start) and name.endswith(end)]
    return max(found, key=lambda name: (fit.groups[name].rows, name), default="")


def _coefficients(fit: FitFile, groups: dict[str, str], group: str, device_id: str) -> Coefficients:
    own = fit.groups.get(group)
    factors = fit.pooled.factors(groups | ({"group": group} if group else {}))
    near = [g for name, g in fit.groups.items() if name.startswith(f"{device_id} / ")]
    held = sorted(g.held[0] for g in near if g.held for _ in range(g.rows))
    return Coefficients(
        factors=dict(zip(fit.pooled.form.terms, map(float, factors), strict=True)),
        error=own.seen[0] if own else held[len(held) // 2] if held else UNKNOWN_ERROR,
        rows=own.rows if own else 0,
        source=f"{fit.quantity} fit of {fit.made} to {fit.rows} rows: {'; '.join(fit.sources)}",
    )


@cache
def _shipped(name: str) -> FitFile:
    text = (resources.files("devices") / "catalog" / "fits" / name).read_text("utf-8")
    return from_yaml(text, f"catalog/fits/{name}")

"""A metered API: nothing is known of its hardware, only how long others waited for it and how much it grants."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.natures.rate_limit import RateLimits
from devices.packaged import read
from devices.worker import DecodeLine


@dataclass(frozen=True, slots=True)
class RemotePredictor:
    """Measured times, network included, whatever the length: the provider hides its load, up to what `slope` adds.

    The defaults are GroqCloud's Llama-2-70B of December 2023 as LLMPerf measured it (550 tokens in, 150 out, 5
    concurrent requests): median time to first token 0.222 s, between tokens 5.3 ms.

    Attributes:
        slope_per_sequence: share by which both times grow with each concurrent request beyond `concurrency`.
        concurrency: concurrent requests of ours at which the times were measured.
    """

    ttft_s: float = 0.222
    tpot_s: float = 0.0053
    slope_per_sequence: float = 0.0
    concurrency: int = 5

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.ttft_s

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.tpot_s * self._crowding(sequences)

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        crowding = self._crowding(decodes + len(chunks))
        return crowding * max(self.ttft_s, self.tpot_s) if chunks else crowding * self.tpot_s

    def _crowding(self, sequences: int) -> float:
        return 1 + self.slope_per_sequence * max(sequences - self.concurrency, 0)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A measured distribution: `values[i]` is not exceeded with probability `at[i]`. Both ascend."""

    at: tuple[float, ...]
    values: tuple[float, ...]

    def value(self, probability: float) -> float:
        """Interpolated; the first and the last value stand for what lies beyond them."""
        above = bisect_left(self.at, probability)
        if above == 0:
            return self.values[0]
        if above == len(self.at):
            return self.values[-1]
        low, high = self.at[above - 1], self.at[above]
        share = (probability - low) / (high - low)
        return self.values[above - 1] + share * (self.values[above] - self.values[above - 1])


@dataclass(frozen=True, slots=True)
class RemoteProfile:
    """One model at one provider.

    Attributes:
        concurrency, prompt_tokens, output_tokens: of the requests that were measured.
        limits: what the provider grants, None where it does not say.
        samples: answers measured, 0 where the source gives only quantiles.
    """

    provider: str
    model: str
    ttft_s: Quantiles
    tpot_s: Quantiles
    concurrency: int
    prompt_tokens: int
    output_tokens: int
    slope_per_sequence: float
    limits: RateLimits | None
    samples: int
    source: str

    def predictor(self, probability: float = 0.5) -> RemotePredictor:
        """Times that are kept with that probability; the same number draws them for a simulated call."""
        ttft_s, tpot_s = self.ttft_s.value(probability), self.tpot_s.value(probability)
        return RemotePredictor(ttft_s, tpot_s, self.slope_per_sequence, self.concurrency)


def providers() -> list[str]:
    """APIs someone has measured, sorted."""
    return sorted(read(_FILE)["providers"])


def models(provider: str) -> list[str]:
    """Models measured at a provider, sorted; none for one nobody has measured."""
    return sorted(read(_FILE)["providers"].get(provider, ()))


def profile(provider: str, model: str) -> RemoteProfile | None:
    """What is known of a model at a provider, under our name for it or one of its aliases; None if nothing is."""
    known = read(_FILE)
    measured: Mapping[str, Any] = known["providers"].get(provider, {})
    names = [model, *(name for name, aliases in known["aliases"].items() if model in aliases)]
    name = next((name for name in names if name in measured), None)
    return None if name is None else _profile(known, provider, name, measured[name])


def _profile(known: Mapping[str, Any], provider: str, model: str, entry: Mapping[str, Any]) -> RemoteProfile:
    how = known["measurements"][entry["measurement"]]
    granted, at = entry.get("limits"), tuple(how["at"])
    return RemoteProfile(
        provider=provider,
        model=model,
        ttft_s=Quantiles(at, tuple(entry["ttft_s"])),
        tpot_s=Quantiles(at, tuple(entry["tpot_s"])),
        concurrency=how["concurrency"],
        prompt_tokens=how["prompt_tokens"],
        output_tokens=how["output_tokens"],
        slope_per_sequence=known["slope_per_sequence"],
        limits=RateLimits(granted["requests_per_min"], granted["tokens_per_min"]) if granted else None,
        samples=entry.get("samples", 0),
        source=known["sources"][entry["measurement"]],
    )


_FILE = "remote.yaml"

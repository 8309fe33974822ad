"""Small helpers that build core values for tests; every figure a test depends on is named in the test itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices.catalog import model
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Link, Phase, Pool, Worker
from policies.api import Request, Slo
from router.fleet import Fleet

BOTH = frozenset(Phase)
PREFILL = frozenset({Phase.PREFILL})
DECODE = frozenset({Phase.DECODE})


@dataclass(frozen=True)
class SteadyPredictor:
    """A device whose times are linear in tokens and flat in the batch."""

    prefill_s_per_token: float = 1e-4
    step_seconds: float = 0.01

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return new_tokens * self.prefill_s_per_token

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_seconds

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return self.step_seconds * bool(decodes) + self.prefill_s(sum(new for new, _ in chunks))


def pool(
    name: str = "gpu",
    *,
    model_name: str = "m",
    phases: frozenset[Phase] = BOTH,
    usd_per_hour: float = 3.6,
    price: ApiPrice | None = None,
    predictor: SteadyPredictor | None = None,
    kv_tokens: int = 1_000_000,
    max_seqs: int = 256,
    hard_slots: bool = False,
    max_context_tokens: int = 131_072,
    shape: str | None = None,
) -> Pool:
    """A pool of one-chip workers; metered when a price is given."""
    billing = Billing(BillingKind.METERED, price=price) if price else Billing(BillingKind.ON_DEMAND, usd_per_hour)
    return Pool(
        name=name,
        model=model_name,
        phases=phases,
        engine="vllm",
        billing=billing,
        predictor=predictor or SteadyPredictor(),
        limits=Limits(kv_tokens, max_seqs, hard_slots, 2048, max_context_tokens),
        shape=model(shape) if shape else None,
        handover="nixl",
    )


def worker(name: str = "gpu-0", of: Pool | None = None) -> Worker:
    """One worker of a pool."""
    return Worker(name, of or pool(), f"http://{name}.test:8000")


def fleet(*workers: Worker, links: Mapping[tuple[str, str], Link] | None = None) -> Fleet:
    """A fleet of these workers; without links nothing is split."""
    return Fleet(workers or (worker(),), links or {})


def request(
    id: str = "r1",
    *,
    prompt_tokens: int = 1000,
    max_tokens: int | None = None,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    e2e_s: float | None = None,
    model_name: str = "m",
    arrival_s: float = 0.0,
    attempt: int = 1,
    avoid: Sequence[str] = (),
    traffic_class: str = "chat",
    min_bits: int = 0,
    splittable: bool = True,
) -> Request:
    """A request with only the promises that are named."""
    return Request(
        id=id,
        model=model_name,
        prompt_tokens=prompt_tokens,
        arrival_s=arrival_s,
        max_tokens=max_tokens,
        slo=Slo(ttft_s, tpot_s, e2e_s),
        traffic_class=traffic_class,
        min_bits=min_bits,
        attempt=attempt,
        avoid=frozenset(avoid),
        splittable=splittable,
    )

"""What a pair of workers would deliver: the arithmetic behind `Quote`, on values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from devices.worker import Link, Pool, Worker
from policies.api import Load, Quote, Request

MAX_DUTY = 0.9
"""Prefill duty is quoted as at most this: a chunked scheduler never starves decode altogether."""


class _Facts(NamedTuple):
    """What a quote reads of a pool, gathered once."""

    metered: bool
    usd_per_s: float
    max_seqs: int
    kv_tokens: int
    max_batched_tokens: int
    prefill_s: Callable[[int, int], float]
    decode_step_s: Callable[[int, float], float]
    lone_step_s: float


@lru_cache(maxsize=4096)
def _facts(pool: Pool) -> _Facts:
    limits, predictor = pool.limits, pool.predictor
    return _Facts(
        metered=pool.metered,
        usd_per_s=pool.usd_per_s,
        max_seqs=limits.max_seqs,
        kv_tokens=limits.kv_tokens,
        max_batched_tokens=limits.max_batched_tokens,
        prefill_s=predictor.prefill_s,
        decode_step_s=predictor.decode_step_s,
        lone_step_s=predictor.decode_step_s(1, 0),
    )


def quote(
    request: Request,
    prefill: Worker,
    decode: Worker,
    link: Link | None,
    prefill_load: Load,
    decode_load: Load,
    output_tokens: float,
    now: float,
    cached_tokens: int = 0,
    alone_s: float | None = None,
    repriced: Mapping[Pool, Pool] | None = None,
) -> Quote:
    """Seconds and dollars of serving `request` on this pair, given what both do now.

    TTFT = prefill wait + prefill beside the running decodes + decode admission [+ KV transfer + one decode step].
    TPOT = decode step at the batch this request joins / share of steps that prefill leaves to decode.
    USD = rent of the seconds taken: prefill holds its worker, decode a 1/batch share of each step.
    `link` may be None only when one worker serves both phases. `cached_tokens` of the prompt are on the prefill worker
    already; `alone_s` is what prefilling the rest takes on an idle worker, where the caller has asked that before.
    `repriced` has a twin at the present price for pools whose price has changed.
    """
    prompt = request.prompt_tokens
    payer, sending = decode.pool, prefill.pool
    if repriced:
        payer, sending = repriced.get(payer, payer), repriced.get(sending, sending)
    facts = _facts(payer)
    if facts.metered:
        return _api_quote(request, payer, decode_load, output_tokens, cached_tokens, alone_s)
    max_seqs, kv_limit = facts.max_seqs, facts.kv_tokens
    sender = facts if prefill is decode else _facts(sending)
    prefill_s = _prefill_s(prompt - cached_tokens, cached_tokens, sender, prefill_load, alone_s)
    decodes, held = decode_load.decodes, decode_load.kv_tokens
    batch = decodes + 1 if decodes < max_seqs else max_seqs
    kv_tokens = held + prompt + output_tokens / 2
    step_s = facts.decode_step_s(batch, kv_tokens if kv_tokens < kv_limit else kv_limit)
    transfer_s = transfer_bytes = transfer_usd = first_s = 0.0
    if prefill is not decode:
        if link is None:
            raise ValueError(f"no KV path from {prefill.name} to {decode.name}")
        transfer_bytes = kv_bytes(prefill, prompt)
        transfer_s, transfer_usd = link.transfer_s(prompt, transfer_bytes), link.transfer_usd(transfer_bytes)
        # Prefill samples the first token; after a hand-over the decode worker computes it again from the KV.
        first_s = step_s
    admission_s = _admission_s(prompt + output_tokens, decodes, held, max_seqs, kv_limit, output_tokens * step_s)
    duty = decode_load.prefill_duty(now)
    usd_per_output_token = step_s / batch * facts.usd_per_s
    return Quote(
        prefill_load.prefill_wait_s(now) + prefill_s + transfer_s + admission_s + first_s,
        step_s / (1 - (duty if duty < MAX_DUTY else MAX_DUTY)),
        prefill_s * sender.usd_per_s + output_tokens * usd_per_output_token + transfer_usd,
        usd_per_output_token,
        output_tokens,
        transfer_s,
        transfer_bytes,
    )


def _api_quote(
    request: Request, pool: Pool, load: Load, output_tokens: float, cached_tokens: int, alone_s: float | None
) -> Quote:
    """What a metered API is known to take and charge; calls beyond its concurrency wait for one to end."""
    prompt, predictor, price = request.prompt_tokens, pool.predictor, pool.billing.price
    if price is None:
        raise ValueError(f"pool {pool.name} is metered and has no price")
    if alone_s is None:
        alone_s = predictor.prefill_s(prompt - cached_tokens, cached_tokens)
    tpot_s = predictor.decode_step_s(load.decodes + 1, prompt + output_tokens / 2)
    limits, service_s = pool.limits, output_tokens * tpot_s
    admission_s = _admission_s(
        prompt + output_tokens, load.decodes, load.kv_tokens, limits.max_seqs, limits.kv_tokens, service_s
    )
    usd = price.usd(prompt, output_tokens)
    usd_per_output_token = price.usd(prompt, output_tokens + 1) - usd
    return Quote(alone_s + admission_s, tpot_s, usd, usd_per_output_token, output_tokens)


def kv_bytes(worker: Worker, tokens: int) -> float:
    """Bytes of the KV cache of `tokens` tokens as `worker` holds it; 0 where the model's shape is unknown (an API)."""
    return worker.pool.shape.kv_bytes(tokens, worker.pool.kv_precision) if worker.pool.shape else 0.0


def _prefill_s(new_tokens: int, cached_tokens: int, facts: _Facts, load: Load, alone_s: float | None) -> float:
    """Prefill alone, plus what the running decodes add to each of its chunks (weights are read once for both)."""
    if alone_s is None:
        alone_s = facts.prefill_s(new_tokens, cached_tokens)
    decodes = load.decodes
    if decodes == 0:
        return alone_s
    chunks = -(-new_tokens // facts.max_batched_tokens)
    added = facts.decode_step_s(decodes, load.kv_tokens) - facts.lone_step_s
    return alone_s + chunks * added if added > 0.0 else alone_s


def _admission_s(tokens: float, decodes: int, held: int, max_seqs: int, kv_limit: int, service_s: float) -> float:
    """Seconds until slots and KV for `tokens` are free, if each running sequence leaves at a uniform rate.

    A worker with b sequences of `service_s` seconds each frees b / service_s slots, and as large a share of its KV,
    per second (Little's law); what is reserved beyond its limits runs later, before us. 0 while there is room.
    """
    seqs_over, kv_over = decodes + 1 - max_seqs, held + tokens - kv_limit
    if decodes == 0 or (seqs_over <= 0 and kv_over <= 0):
        return 0.0
    share = max(seqs_over / min(decodes, max_seqs), kv_over / max(min(held, kv_limit), 1))
    return share * service_s

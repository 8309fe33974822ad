"""What a pair of workers would deliver: the arithmetic behind `Quote`, on values only."""

from __future__ import annotations

from devices.worker import Link, Worker
from policies.api import Load, Quote, Request

MAX_DUTY = 0.9
"""Prefill duty is quoted as at most this: a chunked scheduler never starves decode altogether."""


def quote(
    request: Request,
    prefill: Worker,
    decode: Worker,
    link: Link | None,
    prefill_load: Load,
    decode_load: Load,
    output_tokens: float,
    now: float,
) -> Quote:
    """Seconds and dollars of serving `request` on this pair, given what both do now.

    TTFT = prefill wait + prefill beside the running decodes + decode admission [+ KV transfer + one decode step].
    TPOT = decode step at the batch this request joins / share of steps that prefill leaves to decode.
    USD = rent of the seconds taken: prefill holds its worker, decode a 1/batch share of each step.
    `link` may be None only when one worker serves both phases.
    """
    prompt = request.prompt_tokens
    if decode.pool.metered:
        return _api_quote(request, decode, decode_load, output_tokens)
    prefill_s = _prefill_s(prompt, prefill, prefill_load)
    limits = decode.pool.limits
    batch = min(decode_load.decodes + 1, limits.max_seqs)
    kv_tokens = min(decode_load.kv_tokens + prompt + output_tokens / 2, limits.kv_tokens)
    step_s = decode.pool.predictor.decode_step_s(batch, kv_tokens)
    transfer_s = transfer_bytes = transfer_usd = 0.0
    if prefill is not decode:
        if link is None:
            raise ValueError(f"no KV path from {prefill.name} to {decode.name}")
        transfer_bytes = kv_bytes(prefill, prompt)
        transfer_s, transfer_usd = link.transfer_s(prompt, transfer_bytes), link.transfer_usd(transfer_bytes)
    admission_s = _admission_s(prompt + output_tokens, decode, decode_load, output_tokens * step_s)
    # Prefill samples the first token itself; after a hand-over the decode worker computes it again from the KV.
    first_s = step_s if prefill is not decode else 0.0
    usd_per_output_token = step_s / batch * decode.pool.usd_per_s
    return Quote(
        ttft_s=prefill_load.prefill_wait_s(now) + prefill_s + transfer_s + admission_s + first_s,
        tpot_s=step_s / (1 - min(decode_load.prefill_duty(now), MAX_DUTY)),
        usd=prefill_s * prefill.pool.usd_per_s + output_tokens * usd_per_output_token + transfer_usd,
        usd_per_output_token=usd_per_output_token,
        output_tokens=output_tokens,
        transfer_s=transfer_s,
        transfer_bytes=transfer_bytes,
    )


def _api_quote(request: Request, worker: Worker, load: Load, output_tokens: float) -> Quote:
    """What a metered API is known to take and charge; calls beyond its concurrency wait for one to end."""
    prompt, predictor, price = request.prompt_tokens, worker.pool.predictor, worker.pool.billing.price
    if price is None:
        raise ValueError(f"pool {worker.pool.name} is metered and has no price")
    tpot_s = predictor.decode_step_s(load.decodes + 1, prompt + output_tokens / 2)
    admission_s = _admission_s(prompt + output_tokens, worker, load, output_tokens * tpot_s)
    usd = price.usd(prompt, output_tokens)
    usd_per_output_token = price.usd(prompt, output_tokens + 1) - usd
    return Quote(predictor.prefill_s(prompt) + admission_s, tpot_s, usd, usd_per_output_token, output_tokens)


def kv_bytes(worker: Worker, tokens: int) -> float:
    """Bytes of the KV cache of `tokens` tokens as `worker` holds it; 0 where the model's shape is unknown (an API)."""
    return worker.pool.shape.kv_bytes(tokens, worker.pool.kv_precision) if worker.pool.shape else 0.0


def _prefill_s(prompt_tokens: int, worker: Worker, load: Load) -> float:
    """Prefill alone, plus what the running decodes add to each of its chunks (weights are read once for both)."""
    predictor, limits = worker.pool.predictor, worker.pool.limits
    alone = predictor.prefill_s(prompt_tokens)
    if load.decodes == 0:
        return alone
    chunks = -(-prompt_tokens // limits.max_batched_tokens)
    added = predictor.decode_step_s(load.decodes, load.kv_tokens) - predictor.decode_step_s(1, 0)
    return alone + chunks * max(added, 0.0)


def _admission_s(tokens: float, worker: Worker, load: Load, service_s: float) -> float:
    """Seconds until slots and KV for `tokens` are free, if each running sequence leaves at a uniform rate.

    A worker with b sequences of `service_s` seconds each frees b / service_s slots, and as large a share of its KV,
    per second (Little's law); what is reserved beyond its limits runs later, before us. 0 while there is room.
    """
    if load.decodes == 0:
        return 0.0
    limits = worker.pool.limits
    running, held = min(load.decodes, limits.max_seqs), min(load.kv_tokens, limits.kv_tokens)
    share = max(
        (load.decodes + 1 - limits.max_seqs) / running, (load.kv_tokens + tokens - limits.kv_tokens) / max(held, 1)
    )
    return max(share, 0.0) * service_s

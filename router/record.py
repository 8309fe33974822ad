"""One request as JSON: what was predicted beside what happened. The log line and the operator API show the same."""

from __future__ import annotations

from policies.api import Placement
from router.ledger import Entry


def record(entry: Entry) -> dict[str, object]:
    """All that is known of a request; times in seconds."""
    return {
        "id": entry.id,
        "model": entry.model,
        "class": entry.traffic_class,
        "stream": entry.stream,
        "outcome": entry.outcome.value if entry.outcome else None,
        "reason": entry.reason,
        "status": entry.status,
        "message": entry.message,
        "attempts": entry.attempts,
        "placement": _placement(entry.placement) if entry.placement else None,
        "actual": {
            "queue_s": entry.queue_s,
            "ttft_s": entry.ttft_s,
            "tpot_s": entry.tpot_s,
            "e2e_s": entry.e2e_s,
            "usd": entry.usd,
            "prompt_tokens": entry.prompt_tokens,
            "cached_tokens": entry.cached_tokens,
            "output_tokens": entry.output_tokens,
            "usage_estimated": entry.usage_estimated,
        },
    }


def _placement(placement: Placement) -> dict[str, object]:
    quote = placement.quote
    return {
        "prefill": placement.prefill.name,
        "decode": placement.decode.name,
        "quote": {
            "ttft_s": quote.ttft_s,
            "tpot_s": quote.tpot_s,
            "usd": quote.usd,
            "transfer_s": quote.transfer_s,
            "transfer_bytes": quote.transfer_bytes,
        },
    }

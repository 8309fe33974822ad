"""How a decode iteration grows as its sequences grow: a straight line up to the next knee, for every nature."""

from __future__ import annotations

import math

from devices.natures.bounds import Bounds
from devices.natures.tier import Tier
from devices.worker import DecodeLine


def decode_line(
    seconds: float, kv_s: float, sequences: int, kv_tokens: float, bounds: Bounds | None, tier: Tier | None = None
) -> DecodeLine:
    """The line through `seconds` at `kv_tokens`; knees are where layers stop looking back and where a tier is full."""
    until = math.inf
    if bounds is not None and kv_tokens < (most := sequences * bounds.tokens):
        kv_s, until = kv_s + bounds.kv_s, most
    if tier is not None and kv_tokens < tier.kv_tokens:
        kv_s, until = kv_s - tier.kv_s, min(until, tier.kv_tokens)
    return seconds, kv_s, until

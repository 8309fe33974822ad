"""The text a simulated worker produces: one word of four ASCII bytes per token, the same for the same prompt."""

from __future__ import annotations

BYTES_PER_TOKEN = 4
"""Prompts are counted by the same rule, so an answer fed back as a prompt has as many tokens as it was billed for."""

_WORDS = [f"{a}{b}{c} ".encode() for a in "bdfghjklmnprstvz" for b in "aeio" for c in "lnrs"]  # 256 words, safe in JSON
_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads neighbouring numbers over all words
_MASK = 2**64 - 1


def tokens_in(size_bytes: int) -> int:
    """Tokens of a text of that many bytes, rounded up; an empty prompt still has its start token."""
    return max(-(-size_bytes // BYTES_PER_TOKEN), 1)


def token(seed: int, index: int) -> bytes:
    """The word at `index` of the continuation of the prompt that hashes to `seed`."""
    return _WORDS[((((seed ^ index) * _MIX) & _MASK) * _MIX & _MASK) >> 56]


def text(seed: int, tokens: int) -> str:
    """The first `tokens` words of a continuation."""
    return b"".join([token(seed, index) for index in range(tokens)]).decode("ascii")

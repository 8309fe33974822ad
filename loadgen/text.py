"""The text of a row's prompt: 4 ASCII bytes per token, shared blocks where the trace says prefixes are shared."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xxhash

from loadgen.trace import BLOCK_TOKENS, Row

BYTES_PER_TOKEN = 4
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
_FILLER_BLOCKS = 64


def prompt(row: Row, seed: int = 0) -> str:
    """Exactly `input_tokens` * 4 bytes; without `hash_ids` no two rows share their first 16 bytes."""
    size = row.input_tokens * BYTES_PER_TOKEN
    if row.hash_ids:
        return "".join(map(block, row.hash_ids))[:size]
    head = f"{xxhash.xxh3_64_intdigest(f'{seed}:{row.index}'.encode()) % 2**60:015x} "
    filler = _filler()
    return (head + filler * (size // len(filler) + 1))[:size]


@lru_cache(maxsize=8192)
def block(block_id: int) -> str:
    """The 2 KiB of one block id: the same in every run, on every machine."""
    generator = np.random.Generator(np.random.PCG64(block_id))
    words = np.full((BLOCK_TOKENS, BYTES_PER_TOKEN), ord(" "), dtype=np.uint8)
    words[:, :3] = _LETTERS[generator.integers(0, len(_LETTERS), (BLOCK_TOKENS, 3), dtype=np.uint8)]
    return words.tobytes().decode("ascii")


@lru_cache(maxsize=1)
def _filler() -> str:
    return "".join(block(2**63 + number) for number in range(_FILLER_BLOCKS))

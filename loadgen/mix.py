"""Shares of traffic classes and of tenants, and what the options of a workload can get wrong."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import xxhash

from loadgen.row import Row


class WorkloadError(ValueError):
    """The options do not make a workload; the text says which and what to add."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of classes or tenants. What a row draws is a hash of seed and row: the same in simulation and live."""

    names: tuple[str, ...]
    edges: tuple[float, ...]
    seed: int = 0

    @classmethod
    def of(cls, shares: Mapping[str, float], seed: int = 0) -> Mix:
        """Shares need not add up to 1; they are taken in proportion."""
        total = sum(shares.values())
        return cls(tuple(shares), tuple(accumulate(share / total for share in shares.values())), seed)

    def traffic_class(self, index: int) -> str:
        """The class of row `index`."""
        return self._drawn(b"class:%d:%d" % (self.seed, index))

    def tenant(self, row: Row) -> str:
        """The tenant of a row; all rows of one client have the same."""
        return self._drawn(b"tenant:%d:%b" % (self.seed, row.client.encode() or b"#%d" % row.index))

    def _drawn(self, key: bytes) -> str:
        if len(self.names) == 1:
            return self.names[0]
        drawn = xxhash.xxh3_64_intdigest(key) / 2**64
        return self.names[min(bisect_right(self.edges, drawn), len(self.names) - 1)]


def mix(text: str, seed: int = 0, what: str = "classes", example: str = "chat:0.6,batch:0.4") -> Mix:
    """`chat:0.6,batch:0.4`, as on the command line; a lone `chat` is all of it."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition(":")
        try:
            value = float(share or 1)
        except ValueError:
            value = math.nan
        if not name or name in shares or not 0 < value < math.inf:
            raise WorkloadError(f"{what} {text!r}; expected NAME:SHARE[,NAME:SHARE...], such as {example}")
        shares[name] = value
    return Mix.of(shares, seed)

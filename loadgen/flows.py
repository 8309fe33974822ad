"""Which pool prefilled and which pool decoded each request that reached a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from devices.worker import Worker
from loadgen.columns import Columns, Ints
from loadgen.results import Results

UNKNOWN_POOL = "unknown"
"""Where requests went whose answer did not say which worker served them."""


@dataclass(frozen=True, slots=True)
class Flows:
    """Parallel arrays over `served`.

    Attributes:
        pools: sorted names; those of the fleet, used or not, and those seen.
        served: all requests but the rejected.
        prefill, decode: index into `pools`.
        split: whether two workers served it.
    """

    pools: Sequence[str]
    served: Columns
    prefill: Ints
    decode: Ints

    @classmethod
    def of(cls, workers: Sequence[Worker], results: Results, columns: Columns) -> Flows:
        """`workers` may be empty: pools then go by what workers call themselves."""
        fleet = {worker.name: worker.pool.name for worker in workers}
        names = [pool_name(name, fleet) for name in results.workers]
        served = columns.where(~columns.rejected)
        seen = {names[code] for side in (served.prefill, served.decode) for code in np.unique(side)}
        pools = sorted({*fleet.values(), *seen})
        codes = np.array([pools.index(name) if name in pools else -1 for name in names], dtype=np.int64)
        return cls(pools, served, codes[served.prefill], codes[served.decode])

    @property
    def matrix(self) -> Ints:
        """Requests from each prefill pool (row) to each decode pool (column)."""
        count = len(self.pools)
        return np.bincount(self.prefill * count + self.decode, minlength=count * count).reshape(count, count)

    def per_pool(self) -> dict[str, dict[str, int]]:
        """Requests and tokens of each phase. `handed_over` left the pool after prefill, `taken_over` came in."""
        split = self.served.prefill != self.served.decode
        columns = {
            "prefill_requests": self._heaped(self.prefill),
            "decode_requests": self._heaped(self.decode),
            "handed_over": self._heaped(self.prefill[split]),
            "taken_over": self._heaped(self.decode[split]),
            "prompt_tokens": self._heaped(self.prefill, self.served.prompt_tokens),
            "output_tokens": self._heaped(self.decode, self.served.output_tokens),
        }
        return {pool: {name: int(heaped[i]) for name, heaped in columns.items()} for i, pool in enumerate(self.pools)}

    def _heaped(self, pool: Ints, weights: Ints | None = None) -> Ints:
        """Per pool; exact, for no sum comes near 2**53."""
        return np.bincount(pool, weights, minlength=len(self.pools)).astype(np.int64)


def pool_name(worker_name: str, pools: Mapping[str, str]) -> str:
    """The pool of a worker; of one not in `pools`, its name without the number at the end."""
    if not worker_name:
        return UNKNOWN_POOL
    stem, _, number = worker_name.rpartition("-")
    return pools.get(worker_name) or (stem if number.isdigit() and stem else worker_name)

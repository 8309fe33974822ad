"""The links between one model's pools as tables, [from pool, to pool]: all transfers of one prompt at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from devices.worker import Link, Pool

Floats = NDArray[np.float64]


class Wires:
    """The vector twin of `Link`; infinite seconds where there is no link.

    Attributes:
        any: whether there is one at all.
        senders: places of pools that send KV.
        linked: places of pools that send or take KV.
    """

    def __init__(self, pools: Sequence[Pool], links: Mapping[tuple[str, str], Link]) -> None:
        rows = [[links.get((sender.name, taker.name)) for taker in pools] for sender in pools]
        known = [[link or Link(bytes_per_s=1.0, latency_s=np.inf) for link in row] for row in rows]
        self.any = any(link is not None for row in rows for link in row)
        self.senders = {i for i, row in enumerate(rows) if any(row)}
        self.linked = {
            k for i, row in enumerate(rows) for j, link in enumerate(row) if link is not None for k in (i, j)
        }
        self._pools = pools
        self._latency_s = _table(known, "latency_s")
        self._per_block_s = _table(known, "per_block_s")
        self._block_size = _table(known, "block_size")
        self._bytes_per_s = _table(known, "bytes_per_s")
        self._usd_per_byte = _table(known, "usd_per_byte")
        self._rented = bool(self._usd_per_byte.any())

    def complete(self, senders: NDArray[np.intp], takers: NDArray[np.intp]) -> bool:
        """Whether each of these pools can send KV to each of those."""
        return bool(np.isfinite(self._latency_s[np.ix_(senders, takers)]).all())

    def transfer_s(self, tokens: int, kv_bytes: Floats) -> Floats:
        """Seconds of the transfer of `tokens` tokens, of which each sending pool holds so many bytes."""
        blocks = -(-tokens // self._block_size)
        seconds: Floats = self._latency_s + blocks * self._per_block_s + kv_bytes[:, None] / self._bytes_per_s
        return seconds

    def transfer_usd(self, kv_bytes: Floats) -> Floats | None:
        """What the owners of the wires charge; None where nobody does."""
        return kv_bytes[:, None] * self._usd_per_byte if self._rented else None


def _table(known: Sequence[Sequence[Link]], figure: str) -> Floats:
    rows = [[getattr(link, figure) for link in row] for row in known]
    return np.array(rows, np.float64).reshape(len(rows), len(rows))

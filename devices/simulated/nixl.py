"""The side channel between two simulated workers: how a decode worker fetches KV that a prefill worker holds.

Real engines move the blocks over RDMA and talk on a port of their own; here the bytes exist only as a transfer time,
and the channel is three small POSTs to the prefill worker's HTTP port.
"""

from __future__ import annotations

import asyncio

import aiohttp
import orjson

from devices.simulated.vllm_api import Remote

ANSWER_S = 2.0
"""Wall seconds a prefill worker has to answer; one that does not is taken for dead."""

RENEWALS_PER_LEASE = 6
"""vLLM renews a lease of 30 s every 5 s."""


class SideChannel:
    """Calls to prefill workers. None and False mean that the KV is gone, or that nobody answers for it."""

    def __init__(self, session: aiohttp.ClientSession, answer_s: float = ANSWER_S) -> None:
        self._session = session
        self._answer_s = answer_s

    async def read(self, remote: Remote) -> int | None:
        """Tokens of KV held there for this request; starts its lease anew."""
        answer = await self._call(remote, "read")
        tokens = answer.get("tokens") if answer else None
        return tokens if isinstance(tokens, int) else None

    async def renew(self, remote: Remote) -> bool:
        """Start the lease anew."""
        return await self._call(remote, "renew") is not None

    async def done(self, remote: Remote) -> bool:
        """The KV has been fetched, or nobody will: let go of it. False if it was gone before."""
        return await self._call(remote, "done") is not None

    async def _call(self, remote: Remote, verb: str) -> dict[str, object] | None:
        host = f"[{remote.host}]" if ":" in remote.host else remote.host
        body = orjson.dumps({"engine_id": remote.engine_id, "request_id": remote.request_id})
        try:
            async with asyncio.timeout(self._answer_s):
                url = f"http://{host}:{remote.port}/nixl/{verb}"
                async with self._session.post(url, data=body, allow_redirects=False) as response:
                    answer = await response.read()
                    return _object(answer) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None  # ValueError: a host or an answer that is none


def _object(answer: bytes) -> dict[str, object]:
    found = orjson.loads(answer)
    if not isinstance(found, dict):
        raise ValueError("the side channel answers objects")
    return found

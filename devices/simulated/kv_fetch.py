"""The decode side of a KV hand-over: ask, wait for the transfer, confirm; or let go and prefill here instead."""

from __future__ import annotations

from asyncio import TaskGroup
from collections.abc import Callable, Mapping

from devices.simulated.engine import State
from devices.simulated.nixl import RENEWALS_PER_LEASE, SideChannel
from devices.simulated.pacer import Pacer, Stream
from devices.simulated.vllm_api import Remote
from devices.simulated.vllm_metrics import VllmMetrics
from devices.worker import Link


class KvFetch:
    """Fetches over the inbound links of one worker. Whatever happens, the prefill worker is told to let go.

    Args:
        links: by the sender's pool.
        reaper: runs what must outlive a cancelled request.
    """

    def __init__(
        self,
        pacer: Pacer,
        channel: SideChannel,
        reaper: TaskGroup,
        metrics: VllmMetrics,
        links: Mapping[str, Link],
        kv_bytes_per_token: float,
    ) -> None:
        self._pacer, self._channel, self._reaper, self._metrics = pacer, channel, reaper, metrics
        self._links, self._kv_bytes_per_token = links, kv_bytes_per_token

    async def fetch(self, remote: Remote, prompt_tokens: int, start: Callable[[float], Stream]) -> Stream | None:
        """The stream of a decode leg, once its KV is here and was still held when the transfer ended.

        None if it was not: whatever had been decoded from it is thrown away. `start` submits the sequence, given the
        seconds its KV takes once there is room for it.
        """
        stream, confirmed = None, False
        try:
            link = self._links.get(remote.pool)
            held = await self._channel.read(remote) if link else None
            if link is not None and held is not None and held >= prompt_tokens:
                size_bytes = prompt_tokens * self._kv_bytes_per_token
                transfer_s = link.transfer_s(prompt_tokens, size_bytes)
                stream = start(transfer_s)
                confirmed = await self._arrival(remote, stream) and await self._channel.done(remote)
            if not confirmed:
                self._metrics.failed_transfers += 1
                return None
            self._metrics.transferred(transfer_s, size_bytes)
            return stream
        finally:
            if not confirmed:
                if stream is not None:
                    self._pacer.abort(stream)
                self._reaper.create_task(self._channel.done(remote))

    async def _arrival(self, remote: Remote, stream: Stream) -> bool:
        """Wait for the KV, keeping its lease alive; False if the lease is lost on the way."""
        clock = self._pacer.clock
        while stream.sequence.state in (State.WAITING, State.TRANSFER):
            stream.changed.clear()
            timer = clock.call_at(clock.now_s + self._pacer.worker.lease_s / RENEWALS_PER_LEASE, stream.changed.set)
            try:
                await stream.changed.wait()
            finally:
                timer.cancel()
            if stream.sequence.state in (State.WAITING, State.TRANSFER) and not await self._channel.renew(remote):
                return False
        return True

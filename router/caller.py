"""One call to one worker: with its credential, within its time, and with what its refusal means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from devices.worker import Worker
from router.engines.api import Call
from router.errors import UpstreamError, worker_error
from router.upstream import Upstream, UpstreamResponse

MAX_ERROR_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Seconds and bytes.

    Attributes:
        first_s: for the first content of a streamed answer, and for a prefill leg; a long prompt may take minutes.
        whole_s: for an answer that is not streamed, whose head comes after its last token.
        stall_s: longest silence between the tokens of a stream.
        kv_lease_s: how long a prefill worker keeps KV for a decode leg that has not come.
        answer_bytes: longest answer held in memory.
    """

    first_s: float = 120.0
    whole_s: float = 600.0
    stall_s: float = 30.0
    kv_lease_s: float = 30.0
    answer_bytes: int = 16 << 20


class Caller:
    """Makes calls to workers. `keys` holds the credential of a pool's workers, by pool name."""

    def __init__(self, upstream: Upstream, keys: Mapping[str, str], limits: CallLimits) -> None:
        self.limits = limits
        self._upstream = upstream
        self._keys = keys

    async def call(
        self,
        worker: Worker,
        call: Call,
        head_s: float,
        cancelled: Callable[[UpstreamResponse], None] | None = None,
    ) -> UpstreamResponse:
        """The worker's answer once it says 200, else raises; `cancelled` as in `Upstream.request`."""
        headers = dict(call.headers)
        if key := self._keys.get(worker.pool.name):
            headers["authorization"] = f"Bearer {key}"
        response = await self._upstream.request(
            worker.url,
            "POST",
            call.path,
            headers,
            call.body,
            head_timeout_s=head_s,
            idle_timeout_s=self.limits.first_s,
            cancelled=cancelled,
        )
        if response.status == HTTPStatus.OK:
            return response
        async with response:
            try:
                said = await response.read(MAX_ERROR_BYTES)
            except UpstreamError:
                said = b""
            raise worker_error(response.status, said, response.headers.get("retry-after", ""))

"""Runs a simulated worker against a clock: wakes when something happens and hands every token to its stream."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

from devices.simulated.engine import Sequence, SimulatedWorker, State
from devices.simulated.vllm_metrics import VllmMetrics

MAX_BEHIND_TOKENS = 2048
"""Tokens that may pile up behind one blocked write before the sequence is aborted."""


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Model time. A test moves it by hand."""

    @property
    def now_s(self) -> float: ...

    def call_at(self, at_s: float, callback: Callable[[], object]) -> Timer: ...


class WallClock:
    """Model time runs `speed` times as fast as the wall, from 0 at construction."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._zero = time.monotonic()

    @property
    def now_s(self) -> float:
        return (time.monotonic() - self._zero) * self._speed

    def call_at(self, at_s: float, callback: Callable[[], object]) -> Timer:
        """Rounded up to uvloop's resolution of 1 ms: waking early would only mean to wake twice."""
        delay_ms = math.ceil((at_s - self.now_s) / self._speed * 1000)
        return asyncio.get_running_loop().call_later(max(delay_ms, 0) / 1000, callback)


class Stream:
    """Tokens of one sequence, counted; its reader turns counts into bytes, so nothing is stored.

    Attributes:
        finish_reason: what its last token will say.
        cut: called if the reader no longer reads.
        changed: set when the KV of a decode leg has arrived.
        stall_at: token count at which a reader that is still writing has fallen too far behind.
    """

    def __init__(self, sequence: Sequence, finish_reason: str, cut: Callable[[], None]) -> None:
        self.sequence = sequence
        self.finish_reason = finish_reason
        self.cut = cut
        self.tokens = 0
        self.stall_at: float = math.inf
        self.changed = asyncio.Event()
        self._wanted = 0
        self._reader: asyncio.Future[None] | None = None

    async def reach(self, tokens: int) -> int:
        """Wait until at least `tokens` tokens are there; answers how many are."""
        while self.tokens < tokens:
            self._wanted = tokens
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self.tokens

    def push(self) -> bool:
        """One more token; False if the reader has fallen too far behind."""
        self.tokens += 1
        if self._reader is not None and self.tokens >= self._wanted:
            if not self._reader.done():  # else its handler was cancelled and is about to abort the sequence
                self._reader.set_result(None)
            self._reader = None
        return self.tokens < self.stall_at


class Pacer:
    """The only one that touches the worker while a server runs."""

    def __init__(self, worker: SimulatedWorker, clock: Clock, metrics: VllmMetrics) -> None:
        self.worker = worker
        self.clock = clock
        self._metrics = metrics
        self._streams: dict[str, Stream] = {}
        self._fetching: dict[str, Stream] = {}
        self._timer: Timer | None = None
        self._timer_s = math.inf

    def start(self, stream: Stream) -> None:
        """Submit the sequence of a stream."""
        sequence = stream.sequence
        self.worker.submit(sequence, self.clock.now_s)
        self._streams[sequence.id] = stream
        if sequence.transfer_s is not None:
            self._fetching[sequence.id] = stream
        self.pump()

    def abort(self, stream: Stream) -> None:
        """End a sequence whatever it is doing; nothing if it has ended."""
        self.worker.abort(stream.sequence.id, self.clock.now_s)
        self.pump()
        self._streams.pop(stream.sequence.id, None)

    def release(self, sequence_id: str) -> bool:
        """Drop pinned KV; False if it was gone."""
        released = self.worker.release(sequence_id, self.clock.now_s)
        self.pump()
        return released

    def renew(self, sequence_id: str) -> Sequence | None:
        """Start a lease anew; None if the KV is gone."""
        sequence = self.worker.renew(sequence_id, self.clock.now_s)
        self.pump()
        return sequence

    def pump(self) -> None:
        """Bring everyone up to the present and set the timer for what comes next."""
        stalled: dict[str, Stream] = {}
        for step in self.worker.advance(self.clock.now_s):
            for sequence in step.decoded:
                stream = self._streams[sequence.id]
                if not stream.push():
                    stalled[sequence.id] = stream
            self._metrics.stepped(step)
            for sequence in step.finished:
                self._metrics.finished(sequence, self._streams.pop(sequence.id).finish_reason)
        for stream in [s for s in self._fetching.values() if s.sequence.state not in _ON_THE_WAY]:
            del self._fetching[stream.sequence.id]
            stream.changed.set()
        self._set_timer()
        for stream in stalled.values():
            self.abort(stream)
            stream.cut()

    def close(self) -> None:
        """Stop the timer; the model stands still."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_s = None, math.inf

    def _set_timer(self) -> None:
        at = self.worker.next_event_s
        if at == self._timer_s:
            return
        self.close()
        if at < math.inf:
            self._timer, self._timer_s = self.clock.call_at(at, self._wake), at

    def _wake(self) -> None:
        self._timer, self._timer_s = None, math.inf
        self.pump()


_ON_THE_WAY = (State.WAITING, State.TRANSFER)

"""What one worker is doing, by our own count: each dispatch, first token and end changes it at once.

Telemetry only adds what we did not send ourselves.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from dataclasses import dataclass

DUTY_WINDOW_S = 1.0
"""Time constant of the prefill duty. Chosen from 0.25, 0.5, 1, 3 and 10 s by attainment over five public traces: a
longer one is blind to the bursts of the Azure 2023 code trace, a shorter one forgets Mooncake's long prompts."""
REPORT_GAIN = 0.5
"""Weight of one report against our own count; halves the effect of a report that raced a dispatch."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself; None where it says nothing usable. `kv_usage` is a share, 0 to 1."""

    running: int | None
    waiting: int | None
    kv_usage: float | None
    at_s: float


class WorkerLoad:
    """The load of one worker: what we reserved on it, and the foreign load its reports show beyond that.

    Attributes:
        requests: in flight, foreign ones included.
        decodes: sequences decoding or reserved to; foreign requests are taken to decode.
        duty, duty_at_s: prefill duty at that time; it fades from there, see `prefill_duty`.
    """

    __slots__ = (
        "_changed",
        "_foreign",
        "_in_flight",
        "_queued",
        "_row",
        "_sent_s",
        "decodes",
        "duty",
        "duty_at_s",
        "foreign_requests",
        "kv_tokens",
        "prefill_s",
        "prefill_until_s",
        "queued_prefill_tokens",
        "reported_at_s",
        "requests",
    )

    def __init__(
        self, row: int, in_flight: MutableSequence[int], queued: MutableSequence[int], changed: set[int]
    ) -> None:
        """`in_flight[row]` follows `requests`, `queued[row]` follows `queued_prefill_tokens`; every change of anything
        puts `row` in `changed`.
        """
        self.requests = 0
        self.decodes = 0
        self.queued_prefill_tokens = 0
        self.kv_tokens = 0
        self.prefill_s = 0.0
        self.prefill_until_s = 0.0
        self.foreign_requests = 0.0
        self.reported_at_s = -math.inf
        self.duty = 0.0
        self.duty_at_s = 0.0
        self._foreign = 0
        self._sent_s = 0.0
        self._row = row
        self._in_flight = in_flight
        self._queued = queued
        self._changed = changed

    @property
    def own_requests(self) -> int:
        """Requests of ours in flight."""
        return self.requests - self._foreign

    @property
    def own_decodes(self) -> int:
        """Sequences of ours decoding or reserved to."""
        return self.decodes - self._foreign

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is reserved here."""
        return not (self.own_requests or self.own_decodes or self.queued_prefill_tokens or self.kv_tokens)

    def prefill_wait_s(self, now: float) -> float:
        """Seconds until the prefill work sent so far should be done."""
        return max(self.prefill_until_s - now, 0.0)

    def prefill_duty(self, now: float) -> float:
        """Prefill seconds per second over the last `DUTY_WINDOW_S`, exponentially weighted, at most 1."""
        if not self.duty:
            return 0.0
        return min(self.duty * math.exp((self.duty_at_s - now) / DUTY_WINDOW_S), 1.0)

    def decode_booked(self, kv_tokens: int) -> None:
        """A request will decode here, and prefill too unless that is done elsewhere."""
        self.decodes += 1
        self.requests += 1
        self.kv_tokens += kv_tokens
        self._in_flight[self._row] = self.requests
        self._changed.add(self._row)

    def decode_freed(self, kv_tokens: int) -> None:
        """It is over."""
        self.decodes -= 1
        self.requests -= 1
        self.kv_tokens -= kv_tokens
        self._in_flight[self._row] = self.requests
        self._changed.add(self._row)

    def leg_booked(self, kv_tokens: int) -> None:
        """A request will only prefill here, and hand its KV over."""
        self.requests += 1
        self.kv_tokens += kv_tokens
        self._in_flight[self._row] = self.requests
        self._changed.add(self._row)

    def leg_freed(self, kv_tokens: int) -> None:
        """Its KV is gone from here."""
        self.requests -= 1
        self.kv_tokens -= kv_tokens
        self._in_flight[self._row] = self.requests
        self._changed.add(self._row)

    def kv_grown(self, kv_tokens: int) -> None:
        """So many more tokens are reserved."""
        self.kv_tokens += kv_tokens
        self._changed.add(self._row)

    def prefill_sent(self, tokens: int, seconds: float, now: float) -> float:
        """Prefill work was sent here; returns the seconds of all work sent so far, its place in the order."""
        self.queued_prefill_tokens += tokens
        self._queued[self._row] = self.queued_prefill_tokens
        self.prefill_s += seconds
        self._sent_s += seconds
        self.prefill_until_s = max(self.prefill_until_s, now) + seconds
        self.duty = self.duty * math.exp((self.duty_at_s - now) / DUTY_WINDOW_S) + seconds / DUTY_WINDOW_S
        self.duty_at_s = now
        self._changed.add(self._row)
        return self._sent_s

    def prefill_done(self, tokens: int, seconds: float, place_s: float, now: float) -> None:
        """That work is over, so is all sent before it; what was sent after starts now: lateness does not pile up."""
        self._prefill_left(tokens, seconds)
        self.prefill_until_s = now + min(self._sent_s - place_s, self.prefill_s)

    def prefill_taken_back(self, tokens: int, seconds: float, now: float) -> None:
        """That work will not be done; how far the rest has come is not known, so it is never put back to its start."""
        self._prefill_left(tokens, seconds)
        self.prefill_until_s = min(self.prefill_until_s, now + self.prefill_s)

    def _prefill_left(self, tokens: int, seconds: float) -> None:
        self.queued_prefill_tokens -= tokens
        self._queued[self._row] = self.queued_prefill_tokens
        self.prefill_s = max(self.prefill_s - seconds, 0.0) if self.queued_prefill_tokens else 0.0
        self._changed.add(self._row)

    def reported(self, report: WorkerReport) -> None:
        """Correct the foreign load: requests the worker has beyond ours."""
        if report.at_s <= self.reported_at_s:
            return
        self.reported_at_s = report.at_s
        if report.running is None and report.waiting is None:
            return
        measured = max((report.running or 0) + (report.waiting or 0) - self.own_requests, 0)
        self.foreign_requests += REPORT_GAIN * (measured - self.foreign_requests)
        self._foreign_is(round(self.foreign_requests))

    def _foreign_is(self, foreign: int) -> None:
        more = foreign - self._foreign
        if more:
            self._foreign = foreign
            self.requests += more
            self.decodes += more
            self._in_flight[self._row] = self.requests
            self._changed.add(self._row)

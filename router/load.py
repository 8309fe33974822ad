"""What one worker is doing, by our own count: each dispatch, first token and end changes it at once.

Telemetry only adds what we did not send ourselves.
"""

from __future__ import annotations

import math
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
    """The load of one worker: what we reserved on it, and the foreign load its reports show beyond that."""

    __slots__ = (
        "_duty",
        "_duty_at_s",
        "_sent_s",
        "foreign_requests",
        "kv_tokens",
        "own_decodes",
        "own_requests",
        "prefill_s",
        "prefill_until_s",
        "queued_prefill_tokens",
        "reported_at_s",
    )

    def __init__(self) -> None:
        self.own_requests = 0
        self.own_decodes = 0
        self.queued_prefill_tokens = 0
        self.kv_tokens = 0
        self.prefill_s = 0.0
        self.prefill_until_s = 0.0
        self.foreign_requests = 0.0
        self.reported_at_s = -math.inf
        self._duty = 0.0
        self._duty_at_s = 0.0
        self._sent_s = 0.0

    @property
    def requests(self) -> int:
        """Requests in flight, foreign ones included."""
        return self.own_requests + round(self.foreign_requests)

    @property
    def decodes(self) -> int:
        """Sequences decoding or reserved to; foreign requests are taken to decode."""
        return self.own_decodes + round(self.foreign_requests)

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is reserved here."""
        return not (self.own_requests or self.own_decodes or self.queued_prefill_tokens or self.kv_tokens)

    def prefill_wait_s(self, now: float) -> float:
        """Seconds until the prefill work sent so far should be done."""
        return max(self.prefill_until_s - now, 0.0)

    def prefill_duty(self, now: float) -> float:
        """Prefill seconds per second over the last `DUTY_WINDOW_S`, exponentially weighted, at most 1."""
        return min(self._duty * math.exp((self._duty_at_s - now) / DUTY_WINDOW_S), 1.0)

    def prefill_sent(self, tokens: int, seconds: float, now: float) -> float:
        """Prefill work was sent here; returns the seconds of all work sent so far, its place in the order."""
        self.queued_prefill_tokens += tokens
        self.prefill_s += seconds
        self._sent_s += seconds
        self.prefill_until_s = max(self.prefill_until_s, now) + seconds
        self._duty = self._duty * math.exp((self._duty_at_s - now) / DUTY_WINDOW_S) + seconds / DUTY_WINDOW_S
        self._duty_at_s = now
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
        self.prefill_s = max(self.prefill_s - seconds, 0.0) if self.queued_prefill_tokens else 0.0

    def reported(self, report: WorkerReport) -> None:
        """Correct the foreign load: requests the worker has beyond ours."""
        if report.at_s <= self.reported_at_s:
            return
        self.reported_at_s = report.at_s
        if report.running is None and report.waiting is None:
            return
        measured = max((report.running or 0) + (report.waiting or 0) - self.own_requests, 0)
        self.foreign_requests += REPORT_GAIN * (measured - self.foreign_requests)

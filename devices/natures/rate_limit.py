"""What a metered API grants in a minute, and what it means when it says no."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

TOO_MANY_REQUESTS = 429
CAPACITY_EXCEEDED = 498
"""Groq's own status for its flex tier: no room now, refused within milliseconds and not charged."""
WAIT_UNSTATED_S = 1.0
"""Our choice where a 429 carries no `retry-after`."""


class Remedy(Enum):
    """What to do with a refused request."""

    WAIT = "wait"
    """Our own account is over its limit: the same API takes it after `retry_after_s`, another one at once."""
    ELSEWHERE = "elsewhere"
    """The provider is full, whatever our limits: waiting helps no one, place it on another worker."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no answer; it is not charged."""

    status: int
    remedy: Remedy
    retry_after_s: float


def refusal(status: int, retry_after: str | None = None) -> Refusal | None:
    """What a status means, None for one that is not about capacity. `retry_after` is the header, in seconds."""
    if status == CAPACITY_EXCEEDED:
        return Refusal(status, Remedy.ELSEWHERE, 0.0)
    if status == TOO_MANY_REQUESTS:
        return Refusal(status, Remedy.WAIT, _seconds(retry_after))
    return None


def _seconds(header: str | None) -> float:
    """A date, which HTTP allows too, counts as unstated: no API measured here sends one."""
    try:
        return max(float(header or ""), 0.0)
    except ValueError:
        return WAIT_UNSTATED_S


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests and tokens (input and output) a minute; None where there is no such limit."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the limits at a time; a value. Both refill evenly and hold at most one minute's worth."""

    limits: RateLimits
    requests: float
    tokens: float
    at_s: float

    @classmethod
    def full(cls, limits: RateLimits, now: float) -> Allowance:
        """An account nobody has used for a minute."""
        return cls(limits, float(limits.requests_per_min or 0), float(limits.tokens_per_min or 0), now)

    def take(self, tokens: int, now: float) -> tuple[Allowance, Refusal | None]:
        """The allowance after one request, and the refusal if there was not enough for it: then nothing is taken."""
        refilled = self._at(now)
        wait_s = refilled._wait_s(tokens)
        if wait_s:
            return refilled, Refusal(TOO_MANY_REQUESTS, Remedy.WAIT, wait_s)
        return replace(refilled, requests=refilled.requests - 1, tokens=refilled.tokens - tokens), None

    def _at(self, now: float) -> Allowance:
        minutes = (now - self.at_s) / 60
        requests, tokens = self.limits.requests_per_min or 0, self.limits.tokens_per_min or 0
        return replace(
            self,
            requests=min(self.requests + minutes * requests, float(requests)),
            tokens=min(self.tokens + minutes * tokens, float(tokens)),
            at_s=now,
        )

    def _wait_s(self, tokens: int) -> float:
        """Until both limits have refilled; a request larger than a whole minute's tokens waits for ever."""
        return max(
            _refill_s(1, self.requests, self.limits.requests_per_min),
            _refill_s(tokens, self.tokens, self.limits.tokens_per_min),
        )


def _refill_s(wanted: float, left: float, per_min: int | None) -> float:
    if per_min is None or wanted <= left:
        return 0.0
    return float("inf") if wanted > per_min else (wanted - left) / per_min * 60

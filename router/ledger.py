"""The outcome ledger: every request that was received ends in exactly one outcome, and the books say so at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

from policies.api import Placement


class Outcome(Enum):
    """How a request ended. Its column in a report is `column`: completed, rejected, failed, cancelled."""

    COMPLETED = "completed"
    COMPLETED_AFTER_RETRY = "completed_after_retry"
    COMPLETED_AFTER_MIGRATION = "completed_after_migration"
    REJECTED = "rejected"
    CLIENT_CANCELLED = "client_cancelled"
    FAILED = "failed"
    DRAINED = "drained"

    @property
    def column(self) -> str:
        """The report column this outcome counts under; a request cut short by our own drain counts as failed."""
        return _COLUMN[self]


_COLUMN = {
    Outcome.COMPLETED: "completed",
    Outcome.COMPLETED_AFTER_RETRY: "completed",
    Outcome.COMPLETED_AFTER_MIGRATION: "completed",
    Outcome.REJECTED: "rejected",
    Outcome.CLIENT_CANCELLED: "cancelled",
    Outcome.FAILED: "failed",
    Outcome.DRAINED: "failed",
}

REASONS: dict[Outcome, frozenset[str]] = {
    Outcome.REJECTED: frozenset(
        {"auth", "invalid", "rate_limited", "quota", "overloaded", "deadline", "draining", "no_worker"}
    ),
    Outcome.FAILED: frozenset(
        {"upstream_error", "truncated", "stalled", "no_worker", "deadline", "write_stall", "internal"}
    ),
}
"""Reasons an outcome may carry; outcomes not listed carry none. They bound the label of `tokenyard_requests_total`."""


class Books(RuntimeError):
    """An entry was ended twice, or with a reason its outcome does not have: a bug of ours."""


@dataclass(slots=True)
class Entry:
    """All that is known of one request, filled in as it goes. Written to the log, the metrics and `/api/decisions`.

    Attributes:
        arrival_s: monotonic seconds.
        placement: of the last attempt.
        handed_over: placements whose decode worker went on from the KV cache of their prefill worker.
        queue_s, ttft_s, e2e_s: seconds from arrival to the (last) decision, the first token, the end.
        tpot_s: (e2e - ttft) / (output tokens - 1); None below two tokens.
        usage_estimated: the engine sent no usage, tokens were counted from the stream.
        status: HTTP status the client saw.
        message: error text shown to the client, empty if there was none.
    """

    id: str
    arrival_s: float
    model: str = ""
    traffic_class: str = ""
    tenant: str = ""
    stream: bool = False
    attempts: int = 0
    placement: Placement | None = None
    handed_over: tuple[Placement, ...] = ()
    queue_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usage_estimated: bool = False
    usd: float = 0.0
    status: int = 0
    message: str = ""
    outcome: Outcome | None = None
    reason: str = ""

    def ended(self, outcome: Outcome, reason: str, now: float) -> None:
        """Set the one outcome; raises `Books` when there is one already or the reason is unknown."""
        if self.outcome is not None:
            raise Books(f"request {self.id} ended as {self.outcome.value}, then again as {outcome.value}")
        if (reason or None) not in (REASONS.get(outcome) or {None}):
            raise Books(f"request {self.id}: {outcome.value} has no reason {reason!r}")
        self.outcome, self.reason = outcome, reason
        self.e2e_s = now - self.arrival_s
        if self.ttft_s is not None and self.output_tokens > 1:
            self.tpot_s = (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a request is billed for; one per request id that was not rejected."""

    request_id: str
    tenant: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    usd: float
    estimated: bool


class Ledger:
    """Open and ended entries, by id. `invariants` proves that none was lost and none counted twice.

    Attributes:
        received: requests entered since the start.
        ended: how many ended, by (outcome, reason).
        billed: usage rows given out, and the prompt and output tokens in them.
        recent: the last `keep` entries that ended.
    """

    def __init__(self, keep: int = 1000) -> None:
        self.received = 0
        self.ended: Counter[tuple[Outcome, str]] = Counter()
        self.billed: Counter[str] = Counter()
        self.recent: dict[str, Entry] = {}
        self._open: dict[str, Entry] = {}
        self._keep = keep

    @property
    def in_flight(self) -> int:
        """Requests received and not ended."""
        return len(self._open)

    @property
    def open(self) -> Iterable[Entry]:
        """Entries not ended."""
        return self._open.values()

    def enter(self, entry: Entry) -> Account:
        """Take a request into the books; use as `with ledger.enter(Entry(...)) as account`."""
        if entry.id in self._open:
            raise Books(f"request id {entry.id} is already in flight")
        self.received += 1
        self._open[entry.id] = entry
        return Account(self, entry)

    def end(self, entry: Entry, outcome: Outcome, reason: str, now: float) -> UsageRow | None:
        """End an entry once; returns the usage row to bill, None for a rejected request."""
        entry.ended(outcome, reason, now)
        del self._open[entry.id]
        self.ended[outcome, reason] += 1
        self.recent[entry.id] = entry
        while len(self.recent) > self._keep:
            del self.recent[next(iter(self.recent))]
        if outcome is Outcome.REJECTED:
            return None
        self.billed["rows"] += 1
        self.billed["prompt_tokens"] += entry.prompt_tokens
        self.billed["output_tokens"] += entry.output_tokens
        return UsageRow(
            entry.id,
            entry.tenant,
            entry.model,
            entry.prompt_tokens,
            entry.cached_tokens,
            entry.output_tokens,
            entry.usd,
            entry.usage_estimated,
        )

    def invariants(self) -> dict[str, bool]:
        """The identities that hold at any moment (I1 and I3 of the reliability rules)."""
        terminal = self.ended.total()
        rejected = sum(count for (outcome, _), count in self.ended.items() if outcome is Outcome.REJECTED)
        return {
            "received == sum of outcomes + in flight": self.received == terminal + self.in_flight,
            "usage rows == outcomes that were not rejected": self.billed["rows"] == terminal - rejected,
        }


class Account:
    """One entry held open by a `with` block. Leaving the block without `end` is our own bug and counts as one."""

    def __init__(self, ledger: Ledger, entry: Entry) -> None:
        self._ledger, self.entry = ledger, entry
        self.usage: UsageRow | None = None

    def end(self, outcome: Outcome, reason: str, now: float) -> None:
        """Set the outcome; a second call raises `Books`."""
        self.usage = self._ledger.end(self.entry, outcome, reason, now)

    def __enter__(self) -> Account:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.entry.outcome is None:
            self.end(Outcome.FAILED, "internal", self.entry.arrival_s)

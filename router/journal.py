"""A scheduler's life as lines: every event it was told and what it decided, so that a run can be replayed exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

import orjson

from policies.api import Placement, Policy, Request, Slo
from router.fleet import Fleet
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler


class Journal(Scheduler):
    """A scheduler that writes one JSON line per event, with the decisions it led to."""

    def __init__(
        self,
        fleet: Fleet,
        policy: Policy,
        *,
        write: Callable[[bytes], None],
        queue_limit: int = 1000,
        queue_timeout_s: float = 60.0,
    ) -> None:
        super().__init__(fleet, policy, queue_limit=queue_limit, queue_timeout_s=queue_timeout_s)
        self._write = write

    def submit(self, request: Request, now: float) -> list[Decision]:
        fields = asdict(request)
        fields["avoid"] = sorted(request.avoid)
        return self._line("submit", now, super().submit(request, now), request=fields)

    def prefilled(self, request_id: str, attempt: int, now: float) -> list[Decision]:
        return self._line("prefilled", now, super().prefilled(request_id, attempt, now), id=request_id, attempt=attempt)

    def first_token(self, request_id: str, attempt: int, now: float) -> list[Decision]:
        decisions = super().first_token(request_id, attempt, now)
        return self._line("first_token", now, decisions, id=request_id, attempt=attempt)

    def progress(self, request_id: str, attempt: int, output_tokens: int, now: float) -> list[Decision]:
        decisions = super().progress(request_id, attempt, output_tokens, now)
        return self._line("progress", now, decisions, id=request_id, attempt=attempt, output_tokens=output_tokens)

    def attempt_ended(self, request_id: str, attempt: int, end: End, output_tokens: int, now: float) -> list[Decision]:
        decisions = super().attempt_ended(request_id, attempt, end, output_tokens, now)
        return self._line(
            "attempt_ended",
            now,
            decisions,
            id=request_id,
            attempt=attempt,
            end=end.value,
            output_tokens=output_tokens,
        )

    def report(self, worker_name: str, report: WorkerReport, now: float) -> list[Decision]:
        decisions = super().report(worker_name, report, now)
        return self._line("report", now, decisions, worker=worker_name, report=asdict(report))

    def worker_lost(self, worker_name: str, now: float) -> list[Decision]:
        return self._line("worker_lost", now, super().worker_lost(worker_name, now), worker=worker_name)

    def worker_found(self, worker_name: str, now: float) -> list[Decision]:
        return self._line("worker_found", now, super().worker_found(worker_name, now), worker=worker_name)

    def tick(self, now: float) -> list[Decision]:
        return self._line("tick", now, super().tick(now))

    def _line(self, event: str, now: float, decisions: list[Decision], **told: object) -> list[Decision]:
        decided = [summary(decision) for decision in decisions]
        self._write(orjson.dumps({"event": event, "now": now, **told, "decisions": decided}) + b"\n")
        return decisions


def summary(decision: Decision) -> list[object]:
    """A decision as JSON: id, attempt, then prefill, decode, ttft_s, tpot_s and usd, or the reason of a rejection."""
    head: list[object] = [decision.request.id, decision.request.attempt]
    outcome = decision.outcome
    if isinstance(outcome, Placement):
        quote = outcome.quote
        return [*head, outcome.prefill.name, outcome.decode.name, quote.ttft_s, quote.tpot_s, quote.usd]
    return [*head, outcome.reason]


def replay(scheduler: Scheduler, lines: Iterable[bytes]) -> tuple[int, list[str]]:
    """Tell `scheduler` a journal's events; returns the number of decisions and one line for each that differs."""
    decisions = 0
    differences = []
    for number, line in enumerate(lines, start=1):
        entry = orjson.loads(line)
        decided = [summary(decision) for decision in _told(scheduler, entry)]
        decisions += len(decided)
        if decided != entry["decisions"]:
            differences.append(f"line {number}: was {entry['decisions']}, now {decided}")
    return decisions, differences


def _told(scheduler: Scheduler, entry: dict[str, object]) -> list[Decision]:
    """Hand one recorded event to the scheduler."""
    event, now = str(entry["event"]), entry["now"]
    assert isinstance(now, float)
    arguments: list[object]
    match event:
        case "submit":
            arguments = [_request(entry["request"])]
        case "report":
            arguments = [entry["worker"], WorkerReport(**entry["report"])]  # type: ignore[arg-type]  # JSON of asdict
        case "worker_lost" | "worker_found":
            arguments = [entry["worker"]]
        case "attempt_ended":
            arguments = [entry["id"], entry["attempt"], End(entry["end"]), entry["output_tokens"]]
        case "progress":
            arguments = [entry["id"], entry["attempt"], entry["output_tokens"]]
        case "prefilled" | "first_token":
            arguments = [entry["id"], entry["attempt"]]
        case "tick":
            arguments = []
        case _:
            raise ValueError(f"unknown event {event!r} in the journal")
    decisions: list[Decision] = getattr(scheduler, event)(*arguments, now)
    return decisions


def _request(fields: object) -> Request:
    """A request from its JSON; tuples and sets come back as such."""
    assert isinstance(fields, dict)
    plain = Request(**fields)
    return replace(
        plain,
        slo=Slo(**fields["slo"]),
        avoid=frozenset(fields["avoid"]),
        prefix=tuple(fields["prefix"]),
    )

"""One request while it is served: the client's side and the books, and where the attempt at hand stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devices.worker import Worker
from policies.api import Placement
from router.answer import Answer
from router.dispatcher import Attempt
from router.ledger import Entry
from router.openai import Inbound

PROGRESS_TOKENS = 32
"""The scheduler hears of output in steps of this many tokens: two KV blocks, and little work per token."""

MOST_TOKENS = 100_000_000
"""More than any context holds: a worker that counts beyond it would spoil bills and forecasts."""


@dataclass(slots=True, eq=False)
class Exchange:
    """What the relay works on.

    Attributes:
        worker: the worker spoken to now or last; the one at fault when a leg fails.
        speaking: content was sent to the client, so no other attempt may follow.
        decoding: the decode worker has shown output, so it has the KV.
    """

    inbound: Inbound
    answer: Answer
    entry: Entry
    attempt: Attempt
    placement: Placement
    worker: Worker
    clock: Callable[[], float]
    speaking: bool = False
    decoding: bool = False

    def output(self, tokens: int) -> None:
        """So many tokens were seen in the stream."""
        if tokens and not self.decoding:
            self.decoding = True
            self.entry.ttft_s = self.clock() - self.entry.arrival_s
            self.attempt.first_token()
        if tokens - self.attempt.output_tokens >= PROGRESS_TOKENS:
            self.attempt.progress(tokens)

    def counted(self, usage: Mapping[str, object] | None, seen_tokens: int) -> None:
        """Book the engine's own count, or what was seen where it sent none."""
        entry = self.entry
        entry.usage_estimated = usage is None
        if usage is None:
            entry.output_tokens = seen_tokens
        else:
            entry.prompt_tokens = _count(usage.get("prompt_tokens"), entry.prompt_tokens)
            entry.output_tokens = _count(usage.get("completion_tokens"), seen_tokens)
            if not self.placement.split:  # a decode worker counts what was handed over as cached
                entry.cached_tokens = cached_tokens(usage)
        self.attempt.output_tokens = entry.output_tokens


def cached_tokens(usage: Mapping[str, object]) -> int:
    """Prompt tokens the engine did not compute again."""
    details = usage.get("prompt_tokens_details")
    return _count(details.get("cached_tokens"), 0) if isinstance(details, dict) else 0


def _count(value: object, default: int) -> int:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else default

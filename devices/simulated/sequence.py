"""One sequence on a simulated worker, and the iterations that sequences share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class DoesNotFit(ValueError):
    """The sequence exceeds the context or the whole KV cache: it would wait for ever."""


class State(Enum):
    """Where a sequence is."""

    WAITING = "waiting"
    TRANSFER = "transfer"
    """Admitted; the KV of its prompt is on its way from the prefill worker."""
    READY = "ready"
    """Its KV has arrived; it joins the next iteration."""
    PREFILL = "prefill"
    DECODE = "decode"
    FINISHED = "finished"
    ABORTED = "aborted"


class Sequence:
    """One sequence and its progress; compared by identity. All but the constructor's arguments belong to the engine.

    Args:
        prefix: one chained id for each `prefix_tokens` prompt tokens: equal ids, equal text from the start; the last
            one may be partly filled.
        pin: a prefill leg: its KV stays until `release` or the end of the lease.
        transfer_s: a decode leg: seconds its KV takes once there is room for it and those before it are through.

    Attributes:
        submitted_s, admitted_s, kv_ready_s, first_s, ended_s: model time of each, NaN before; of admissions the first.
        cached_tokens: leading prompt tokens its first admission found in the prefix cache.
        last_s: when it made its last token before it was preempted, NaN if it never was.
        mark_tokens: the engine tells when so many tokens are made (`Step.marked`); 0 for never.
        made: output tokens made when it last began to prefill or to decode.
    """

    __slots__ = (
        "admitted_s",
        "blocks",
        "cached_tokens",
        "context_base",
        "ended_s",
        "entered",
        "finish_step",
        "first_s",
        "goal",
        "id",
        "kv_ready_s",
        "last_s",
        "lease_end_s",
        "made",
        "mark_step",
        "mark_tokens",
        "order",
        "output_tokens",
        "pin",
        "prefilled",
        "prefix",
        "prompt_tokens",
        "shared",
        "state",
        "submitted_s",
        "token_base",
        "transfer_s",
    )

    def __init__(
        self,
        id: str,
        prompt_tokens: int,
        output_tokens: int,
        *,
        prefix: tuple[int, ...] = (),
        pin: bool = False,
        transfer_s: float | None = None,
        mark_tokens: int = 0,
    ) -> None:
        self.id = id
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.prefix = prefix
        self.pin = pin
        self.transfer_s = transfer_s
        self.mark_tokens = mark_tokens
        self.state = State.WAITING
        self.submitted_s = self.admitted_s = self.kv_ready_s = self.first_s = self.last_s = self.ended_s = math.nan
        self.cached_tokens = self.made = 0
        self.order = 0  # of entering the running order; ends and evictions of one moment follow it
        self.goal = prompt_tokens  # tokens to prefill: the prompt, and after a preemption what it had written
        self.prefilled = 0
        self.blocks = 0  # held while it does not decode, without those it shares
        self.shared: list[int] = []  # cached prefix ids it refers to, from the start of the prompt
        self.entered = 0  # prefix ids offered to the cache
        self.token_base = self.context_base = 0  # + iterations of the worker = its tokens made, its KV tokens
        self.finish_step = self.mark_step = -1
        self.lease_end_s = math.inf

    def __repr__(self) -> str:
        return f"Sequence({self.id!r}, {self.prompt_tokens}+{self.output_tokens}, {self.state.value})"


@dataclass(slots=True, eq=False)
class Step:
    """Iterations of one composition, one after the other, that have ended; often just one.

    Iteration j of them, from 1, ends at `start_s + j * gap_s + growth_s * j * (j - 1) / 2`. Every sequence that decodes
    made one token in each.

    Attributes:
        tokens: output tokens made, first ones included.
        continuing: sequences that made a token in each iteration, and one in the iteration before: each of these tokens
            came as long after the one before it as its iteration took.
        prefilled_tokens: prompt tokens computed.
        first: sequences whose first token came at `end_s`.
        finished: sequences whose last token came at `end_s`.
        marked: sequences that have reached their `mark_tokens` at `end_s`.
        resumed: sequences that went on after a preemption: a token at `end_s`, the one before it at their `last_s`.
        decoded: all sequences that made a token; empty if the worker was told not to list them.
    """

    start_s: float
    end_s: float
    iterations: int
    gap_s: float
    growth_s: float
    tokens: int
    continuing: int
    prefilled_tokens: int
    first: list[Sequence]
    finished: list[Sequence]
    marked: list[Sequence]
    resumed: list[Sequence]
    decoded: tuple[Sequence, ...]

"""One sequence on a simulated worker, and one iteration that sequences share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class Sequence:
    """One sequence and its progress; compared by identity.

    Attributes:
        cached_tokens: leading prompt tokens not computed again; the last prompt token always is.
        pin: a prefill leg: its KV stays until `release` or the end of the lease.
        kv_ready_s: a decode leg: when the prompt's KV arrives if admitted at once; moved back by any wait in the queue,
            for the transfer starts only once there is room.
        submitted_s, admitted_s, first_s, ended_s: model time of each, NaN before.
    """

    id: str
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    pin: bool = False
    kv_ready_s: float | None = None
    state: State = field(default=State.WAITING, init=False)
    submitted_s: float = field(default=math.nan, init=False)
    admitted_s: float = field(default=math.nan, init=False)
    first_s: float = field(default=math.nan, init=False)
    ended_s: float = field(default=math.nan, init=False)
    kv_tokens: int = field(default=0, init=False)
    """Tokens of KV it reserves, in whole blocks."""
    prefill_left: int = field(default=0, init=False)
    born_step: int = field(default=0, init=False)
    """Iterations the worker had done before its first token; while it decodes, it has `steps - born_step` tokens."""
    lease_end_s: float = field(default=math.inf, init=False)


@dataclass(slots=True, eq=False)
class Step:
    """One iteration that has ended. Every sequence in it got its token at `end_s`.

    Attributes:
        tokens: output tokens produced, first ones included; the other `tokens - len(first)` came `end_s - start_s`
            after the token before them.
        prefilled_tokens: prompt tokens computed.
        first: sequences whose first token this was.
        finished: sequences whose last token this was.
        decoded: all sequences that got a token; empty if the worker was told not to list them.
    """

    start_s: float
    end_s: float
    tokens: int
    prefilled_tokens: int
    first: tuple[Sequence, ...]
    finished: tuple[Sequence, ...]
    decoded: tuple[Sequence, ...]

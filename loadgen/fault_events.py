"""What happens to a fleet while it runs: values, each with its moment and the state that holds from then on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from devices.worker import Billing, Limits, Link, Predictor
from loadgen.arrivals import arrivals
from loadgen.lengths import lognormal


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker dies: what it holds is gone, what it was doing has failed, it answers nobody. It was up till now."""

    at_s: float
    worker: str


@dataclass(frozen=True, slots=True)
class Found:
    """The worker is back, empty."""

    at_s: float
    worker: str


@dataclass(frozen=True, slots=True)
class Paced:
    """The worker works by this predictor from its next iteration on. For a metered API: from its next call on."""

    at_s: float
    worker: str
    predictor: Predictor


@dataclass(frozen=True, slots=True)
class Reporting:
    """The worker's reports from now on: what it says at t is heard at t + `delay_s`, or never."""

    at_s: float
    worker: str
    delay_s: float
    loss: float
    seed: int

    def lost(self, number: int) -> bool:
        """Whether the worker's report of that number is never heard. A hash: the same in every run."""
        drawn = xxhash.xxh3_64_intdigest(f"report:{self.seed}:{self.worker}:{number}".encode()) / 2**64
        return drawn < self.loss


@dataclass(frozen=True, slots=True)
class ForeignRequest:
    """A request of somebody else's."""

    at_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ForeignLoad:
    """Others begin to send requests to the worker, and go on until `until_s`, which may be never.

    Attributes:
        seed: already different for each worker and each fault of the file.
        arrivals, input, output: as on the command line.
        room_tokens: what fits the worker; longer requests are cut to it, as their senders would know to do.
    """

    at_s: float
    worker: str
    until_s: float
    rate_per_s: float
    arrivals: str
    input: str
    output: str
    room_tokens: int
    seed: int

    def requests(self) -> Iterator[ForeignRequest]:
        """In order of arrival; endless where `until_s` is infinite. A worker that is down takes none of them."""
        # Seeds differ, or prompts and answers would be as long as each other and as the gaps are wide.
        prompts = lognormal(self.input).tokens(self.seed + 1)
        answers = lognormal(self.output).tokens(self.seed + 2)
        for after_s in arrivals(self.arrivals)(self.rate_per_s, self.seed):
            if self.at_s + after_s >= self.until_s:
                return
            prompt_tokens = min(next(prompts), self.room_tokens - 1)
            yield ForeignRequest(
                self.at_s + after_s, prompt_tokens, min(next(answers), self.room_tokens - prompt_tokens)
            )


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The link between two pools is this one from now on; None while it is cut."""

    at_s: float
    from_pool: str
    to_pool: str
    link: Link | None


@dataclass(frozen=True, slots=True)
class PriceChanged:
    """The pool is paid for like this from now on."""

    at_s: float
    pool: str
    billing: Billing


Event = Lost | Found | Paced | Reporting | ForeignLoad | LinkChanged | PriceChanged


def room_tokens(limits: Limits) -> int:
    """Prompt and answer that one sequence may have on a worker with nothing else on it."""
    return min(limits.max_context_tokens, limits.kv_tokens // limits.block_size * limits.block_size)

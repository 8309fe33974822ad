"""Sessions: turns of one client, each of whose prompts is all that was said before and something new.

Turns of a session share their leading blocks, and sessions of one application share its system prompt, so a prefix
cache can hit exactly as often as the text allows.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count, repeat

import numpy as np

from loadgen.arrivals import arrivals
from loadgen.lengths import Lognormal
from loadgen.row import BLOCK_TOKENS, Row

ANSWER_S_PER_TOKEN = 0.02
"""Assumed when a next turn is timed: the answer streams at 50 tokens a second. Load that waits for answers would
not be open-loop: a slow fleet would be sent less."""

_WARM_LIVES = 5
"""Mean session lives before second 0: of the sessions that would be under way then, all but e^-5 are."""
_TEXT_IDS = 1 << 21
"""Ids set aside for each text; those in the upper half name last blocks that are partly filled."""
_PARTLY = _TEXT_IDS // 2
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Sessions:
    """What sessions are like.

    Attributes:
        first, more: new tokens of the first turn and of each further one, the latter after the answers so far.
        output: tokens of each answer, which the next prompt holds too.
        turns: mean number, geometric from 1.
        think_p50_s, think_sigma: lognormal seconds between the end of an answer and the next turn.
        shared: tokens of the system prompt that sessions of one application begin with.
        applications: how many; the i-th most popular begins 1 / i as many sessions as the first. 0 for no such prompt.
        most_tokens: of a prompt. A longer one is cut back to system prompt and a new first message, as agents compact
            their context.
    """

    first: Lognormal
    output: Lognormal
    more: Lognormal = Lognormal(1)  # noqa: RUF009 (frozen)
    turns: float = 1.0
    think_p50_s: float = 0.0
    think_sigma: float = 0.0
    shared: Lognormal = Lognormal(1)  # noqa: RUF009 (frozen)
    applications: int = 0
    most_tokens: int = 32_768

    @property
    def life_s(self) -> float:
        """Mean seconds from the first turn of a session to its last."""
        think_s = self.think_p50_s * math.exp(self.think_sigma**2 / 2)
        answer_s = ANSWER_S_PER_TOKEN * self.output.p50_tokens * math.exp(self.output.sigma**2 / 2)
        return (self.turns - 1) * (think_s + answer_s)

    def rows(self, rate_per_s: float, starts: str, seed: int) -> Iterator[Row]:
        """Endless requests at that mean rate; sessions begin as `starts` says (see `arrivals`).

        Second 0 finds sessions under way in all their stages, so the rate has no ramp. Ids are not yet chained.
        """
        draws = _Draws(self, seed)
        warm_s = _WARM_LIVES * self.life_s
        begun = (start_s - warm_s for start_s in arrivals(starts)(rate_per_s / self.turns, seed))
        index = count()
        waiting: list[tuple[float, int, _Session]] = []
        next_begin_s = next(begun)
        while True:
            if waiting and waiting[0][0] <= next_begin_s:
                now_s, _, session = heapq.heappop(waiting)
            else:
                now_s, session = next_begin_s, draws.session()
                next_begin_s = next(begun)
            prompt_tokens, answer_tokens = draws.turn(session)
            if now_s >= 0:
                ids = session.ids(prompt_tokens)
                yield Row(next(index), now_s, prompt_tokens, answer_tokens, ids, f"s{session.number}")
            if session.turns_left:
                gap_s = ANSWER_S_PER_TOKEN * answer_tokens + next(draws.think_s)
                heapq.heappush(waiting, (now_s + gap_s, session.number, session))


@dataclass(slots=True, eq=False)
class _Session:
    """One on its way.

    Attributes:
        number: its own for good.
        text: the text all its ids are of, new after the context was cut back.
        application, shared_tokens: the system prompt it begins with.
        said_tokens: prompt and answer of the turn before.
    """

    number: int
    text: int
    application: int
    shared_tokens: int
    turns_left: int
    turn: int = 0
    said_tokens: int = 0

    def ids(self, tokens: int) -> tuple[int, ...]:
        """One per block: those of the system prompt, of this session's text, and of a last block partly filled."""
        shared, whole = self.shared_tokens // BLOCK_TOKENS, tokens // BLOCK_TOKENS
        system, own = self.application * _TEXT_IDS, self.text * _TEXT_IDS
        ids = (*range(system, system + shared), *range(own + shared, own + whole))
        return (*ids, own + _PARTLY + self.turn) if tokens % BLOCK_TOKENS else ids


class _Draws:
    """All that is left to chance, each from a stream of its own."""

    def __init__(self, of: Sessions, seed: int) -> None:
        self._of = of
        seeds = iter(np.random.SeedSequence(seed).generate_state(7).tolist())
        self._first, self._more, self._output = (
            lengths.tokens(next(seeds)) for lengths in (of.first, of.more, of.output)
        )
        shared = of.shared.tokens(next(seeds))
        self._shared = [next(shared) for _ in range(of.applications)]
        self._turns = _turns(of.turns, next(seeds))
        self._applications = _popular(of.applications, next(seeds))
        self.think_s = _think_s(of, next(seeds))
        self._texts = count(of.applications)

    def session(self) -> _Session:
        """A new one, before its first turn."""
        text = next(self._texts)
        application = next(self._applications)
        shared_tokens = self._shared[application] if self._shared else 0
        return _Session(text, text, application, shared_tokens, next(self._turns))

    def turn(self, session: _Session) -> tuple[int, int]:
        """Tokens of the session's next prompt and answer."""
        most = self._of.most_tokens
        if session.turn == 0:
            prompt_tokens = session.shared_tokens + next(self._first)
        else:
            prompt_tokens = session.said_tokens + next(self._more)
            if prompt_tokens > most:
                session.text = next(self._texts)
                prompt_tokens = session.shared_tokens + next(self._first)
        prompt_tokens = max(min(prompt_tokens, most), session.shared_tokens + 1)
        answer_tokens = next(self._output)
        session.said_tokens = prompt_tokens + answer_tokens
        session.turn += 1
        session.turns_left -= 1
        return prompt_tokens, answer_tokens


def _turns(mean: float, seed: int) -> Iterator[int]:
    generator = np.random.default_rng(seed)
    for _ in repeat(None):
        yield from generator.geometric(1 / mean, _BATCH).tolist()


def _think_s(of: Sessions, seed: int) -> Iterator[float]:
    generator = np.random.default_rng(seed)
    for _ in repeat(None):
        yield from (of.think_p50_s * generator.lognormal(0.0, of.think_sigma, _BATCH)).tolist()


def _popular(applications: int, seed: int) -> Iterator[int]:
    """Zipf's law with exponent 1."""
    if applications < 2:
        yield from repeat(0)
    edges = np.array(list(accumulate(1 / rank for rank in range(1, applications + 1))))
    generator = np.random.default_rng(seed)
    for _ in repeat(None):
        yield from np.searchsorted(edges, generator.random(_BATCH) * edges[-1], side="right").tolist()

"""Two engines and a hand-over: a prompt is computed on one, its KV goes to the other and is then released.

The small loop that a simulator runs is written twice, over the twins and over the engines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from engine_oracle import Asked, Life, Oracle
from engine_stories import TICK_S, Story, oracle_of, tick_stories
from engine_told import Told, assert_same, sequence, show, trace, worker
from hypothesis import strategies as st

from devices.simulated.sequence import Sequence


@dataclass(frozen=True)
class Pair:
    """Two stories; of the one on the decode side only the device counts."""

    prefill: Story
    decode: Story


pairs = st.builds(Pair, tick_stories(), tick_stories())
ClientCall = tuple[float, str, Asked | None, str]


def client_calls(pair: Pair) -> list[ClientCall]:
    """Requests, renewals and cancellations, of one id one request only."""
    now, calls, known = 0.0, [], set()
    for call in pair.prefill.calls:
        now += call.wait_s + 37 * call.events * TICK_S
        if call.asked is None or call.asked.id not in known:
            calls.append((now, call.verb, call.asked, call.id))
        known |= {call.asked.id} if call.asked else set()
    return calls


def legs(asked: Asked) -> tuple[Asked, Asked]:
    """The prompt with its first token, then all of it once more with the KV of the prompt."""
    transfer_s = asked.prompt_tokens % 7 * TICK_S * 10 if asked.transfer_s is None else asked.transfer_s
    first = Asked(asked.id, asked.prompt_tokens, 1, asked.prefix, pin=True)
    return first, Asked(asked.id, asked.prompt_tokens, asked.output_tokens, asked.prefix, transfer_s=transfer_s)


class NaivePair:
    def __init__(self, pair: Pair) -> None:
        self.a, self.b = oracle_of(pair.prefill), oracle_of(pair.decode)
        self.calls = client_calls(pair)
        self.second: dict[str, Asked] = {}
        self.arriving: list[Life] = []
        self.heard = 0

    def run(self) -> tuple[Oracle, Oracle]:
        now = 0.0
        while (now := max(now, min(self._times(), default=math.inf))) < math.inf:
            self.a.run(now)
            self.b.run(now)
            self._hand_over(now)
            if self.calls and self.calls[0][0] == now:
                self._call(*self.calls.pop(0))
            self._release(now)
        return self.a, self.b

    def _times(self) -> Iterable[float]:
        yield from (self.a.next_event_s, self.b.next_event_s)
        yield from (life.arrives_s for life in self.arriving)
        yield from (call[0] for call in self.calls[:1])

    def _hand_over(self, now: float) -> None:
        news, self.heard = self.a.ends[self.heard :], len(self.a.ends)
        for _, id, how in news:
            if how == "finished":
                try:
                    self.b.submit(self.second[id], now)
                    self.arriving.append(self.b.lives[-1])
                except ValueError:
                    self.a.release(id, now)

    def _release(self, now: float) -> None:
        for life in list(self.arriving):
            if life.arrives_s <= now or life.end[1]:
                self.arriving.remove(life)
                self.a.release(life.asked.id, now)

    def _call(self, now: float, verb: str, asked: Asked | None, id: str) -> None:
        if asked is not None:
            first, self.second[asked.id] = legs(asked)
            try:
                self.a.submit(first, now)
            except ValueError:
                return
        elif verb == "abort":
            _ = self.a.abort(id, now) or self.b.abort(id, now)
        elif verb == "renew":
            self.a.renew(id, now)


class FastPair:
    def __init__(self, pair: Pair) -> None:
        self.a, self.b = Told(worker(pair.prefill)), Told(worker(pair.decode))
        self.calls = client_calls(pair)
        self.second: dict[str, Asked] = {}
        self.arriving: list[Sequence] = []
        self.heard = 0

    def run(self) -> tuple[Told, Told]:
        now = 0.0
        while (now := max(now, min(self._times(), default=math.inf))) < math.inf:
            self.a.hear(self.a.engine.advance(now))
            self.b.hear(self.b.engine.advance(now))
            self._hand_over(now)
            if self.calls and self.calls[0][0] == now:
                self._call(*self.calls.pop(0))
            self._release(now)
        return self.a, self.b

    def _times(self) -> Iterable[float]:
        yield from (self.a.engine.next_event_s, self.b.engine.next_event_s)
        yield from (leg.kv_ready_s for leg in self.arriving if not math.isnan(leg.kv_ready_s))
        yield from (call[0] for call in self.calls[:1])

    def _hand_over(self, now: float) -> None:
        news, self.heard = self.a.finishes[self.heard :], len(self.a.finishes)
        for _, id in news:
            leg = sequence(self.second[id])
            try:
                self.b.engine.submit(leg, now)
                self.b.sequences.append(leg)
                self.arriving.append(leg)
            except ValueError:
                self.a.engine.release(id, now)

    def _release(self, now: float) -> None:
        for leg in list(self.arriving):
            if leg.kv_ready_s <= now or not math.isnan(leg.ended_s):
                self.arriving.remove(leg)
                self.a.engine.release(leg.id, now)

    def _call(self, now: float, verb: str, asked: Asked | None, id: str) -> None:
        if asked is not None:
            one, self.second[asked.id] = legs(asked)
            first = sequence(one)
            try:
                self.a.engine.submit(first, now)
                self.a.sequences.append(first)
            except ValueError:
                return
        elif verb == "abort":
            _ = self.a.engine.abort(id, now) or self.b.engine.abort(id, now)
        elif verb == "renew":
            self.a.engine.renew(id, now)


def assert_agree_in_pairs(pair: Pair) -> None:
    naive_a, naive_b = NaivePair(pair).run()
    show(f"prefill\n{trace(naive_a, [])}\ndecode\n{trace(naive_b, [])}")
    fast_a, fast_b = FastPair(pair).run()
    assert_same(naive_a, fast_a, 0.0)
    assert_same(naive_b, fast_b, 0.0)

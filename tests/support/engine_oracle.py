"""The naive twin of the simulated engine: one iteration at a time, every sequence looked at in each, nothing clever.

It shares no code with `devices.simulated`; what it counts it counts anew from plain lists each time it is asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from devices.worker import Limits, Predictor


class TooLong(ValueError):
    """The sequence can never run on this worker, not even alone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller submits; `transfer_s` makes it a decode leg, `pin` a prefill leg."""

    id: str
    prompt_tokens: int
    output_tokens: int
    prefix: tuple[int, ...] = ()
    pin: bool = False
    transfer_s: float | None = None


@dataclass(eq=False, slots=True)
class Life:
    """One sequence between its submission and its end.

    Attributes:
        made: output tokens so far; survives a preemption.
        kv: tokens of KV computed, cached or received.
        goal: KV tokens after which the prompt is complete; 0 for a decode leg whose KV came over a wire.
        private: blocks only this sequence uses.
        shared: positions in `asked.prefix` of the cached ids it references, ascending.
        tokens: when each of its output tokens came.
        cached: KV tokens each of its admissions found in the prefix cache.
        end: (time, "finished" | "aborted"), or of a pinned one (time, "released" | "expired").
    """

    asked: Asked
    made: int = 0
    kv: int = 0
    goal: int = 0
    private: int = 0
    shared: list[int] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    end: tuple[float, str] = (math.nan, "")
    arrives_s: float = math.inf
    lease_end_s: float = math.inf
    preempted: bool = False

    @property
    def half_done(self) -> bool:
        return self.kv < self.goal

    @property
    def total(self) -> int:
        return self.asked.prompt_tokens + self.asked.output_tokens


@dataclass(eq=False, slots=True)
class Iteration:
    """What was composed at `start_s`; who is aborted later stays in it and keeps his share of the budget."""

    start_s: float
    decodes: list[Life]
    chunks: list[tuple[Life, int, int]]
    preempted: bool
    end_s: float = math.inf

    def new_tokens(self) -> int:
        return len(self.decodes) + sum(new for _, new, _ in self.chunks)


class Oracle:
    """Tells of every sequence when each of its tokens came, what became of it and what its admissions found cached.

    Attributes:
        lives: of all that were accepted, in order of submission.
        ends: (time, id, "finished" | "aborted" | "released" | "expired") in the order in which they happened.
        iterations: (start, end, decodes, prompt tokens) of all of them.
    """

    def __init__(
        self, predictor: Predictor, limits: Limits, *, lease_s: float = 30.0, prefix_tokens: int = 512
    ) -> None:
        self.predictor, self.limits, self.lease_s, self.prefix_tokens = predictor, limits, lease_s, prefix_tokens
        self.blocks = limits.kv_tokens // limits.block_size
        self.queue: list[Life] = []
        self.running: list[Life] = []
        self.transferring: list[Life] = []  # in order of admission
        self.pinned: list[Life] = []  # in order of finishing
        self.unused: list[int] = []  # cached prefix ids nobody references, the next to go first
        self.iteration: Iteration | None = None
        self.preemptions = 0
        self.wire_s = -math.inf  # when the last transfer admitted so far has arrived: one travels at a time
        self.lives: list[Life] = []
        self.ends: list[tuple[float, str, str]] = []
        self.iterations: list[tuple[float, float, int, int]] = []

    # What callers may do

    def submit(self, asked: Asked, now: float) -> None:
        self.run(now)
        if asked.prompt_tokens < 1 or asked.output_tokens < 1 or self._find(asked.id):
            raise ValueError(asked)
        life = Life(asked)
        if life.total > self.limits.max_context_tokens or self._blocks_of(life.total) > self.blocks:
            raise TooLong(asked)
        self.lives.append(life)
        self.queue.append(life)
        under_way = self.iteration
        if under_way and under_way.start_s == now and not under_way.preempted:
            chunks = len(under_way.chunks)
            self._admit(under_way)
            if len(under_way.chunks) > chunks:
                under_way.end_s = now + self._duration(under_way)
        self._wake(now)

    def abort(self, id: str, now: float) -> bool:
        self.run(now)
        life = self._find(id)
        if life is None or life in self.pinned:
            return False
        for place in (self.queue, self.running, self.transferring):
            if life in place:
                place.remove(life)
        self._free(life)
        self._end(life, now, "aborted")
        self._wake(now)
        return True

    def release(self, id: str, now: float) -> bool:
        self.run(now)
        for life in self.pinned:
            if life.asked.id == id:
                self._unpin(life, now, "released")
                self._wake(now)
                return True
        return False

    def renew(self, id: str, now: float) -> Asked | None:
        self.run(now)
        for life in self.pinned:
            if life.asked.id == id:
                life.lease_end_s = now + self.lease_s
                return life.asked
        return None

    def run(self, now: float) -> None:
        """Live through everything that happens up to and at `now`."""
        while self.next_event_s <= now:
            self._instant(self.next_event_s)

    @property
    def next_event_s(self) -> float:
        """An iteration's end, a lease's end or, as only an idle engine takes notice at once, an arrival of KV."""
        times = [life.lease_end_s for life in self.pinned]
        times += [self.iteration.end_s] if self.iteration else [life.arrives_s for life in self.transferring]
        return min(times, default=math.inf)

    @property
    def tokens(self) -> dict[str, list[float]]:
        """By id, of those that made any; an id may have had several lives."""
        tokens: dict[str, list[float]] = {}
        for life in self.lives:
            if life.tokens:
                tokens.setdefault(life.asked.id, []).extend(life.tokens)
        return tokens

    @property
    def cached(self) -> dict[str, list[int]]:
        """By id, of each admission."""
        return {life.asked.id: life.cached for life in self.lives}

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens of all iterations that have ended."""
        return sum(prompt for _, _, _, prompt in self.iterations)

    @property
    def load(self) -> tuple[int, int, int]:
        """Running or transferring, waiting, tokens of KV pinned in whole blocks."""
        blocks = sum(life.private + len(life.shared) * self._blocks_of(self.prefix_tokens) for life in self.pinned)
        return len(self.running) + len(self.transferring), len(self.queue), blocks * self.limits.block_size

    @property
    def kv_tokens(self) -> int:
        """Of the running, as far as computed."""
        return sum(life.kv for life in self.running)

    # One instant

    def _instant(self, t: float) -> None:
        if self.iteration and self.iteration.end_s == t:
            self._end_iteration(self.iteration, t)
        for life in sorted(self.pinned, key=lambda pin: pin.lease_end_s):  # stable: pin order among equals
            if life.lease_end_s <= t:
                self._unpin(life, t, "expired")
        if self.iteration is None:
            self._begin(t)

    def _wake(self, now: float) -> None:
        """A call may have made work possible at once."""
        if self.iteration is None:
            self._begin(now)
        self.run(now)

    def _end_iteration(self, ended: Iteration, t: float) -> None:
        self.iteration = None
        self.iterations.append((ended.start_s, t, len(ended.decodes), ended.new_tokens() - len(ended.decodes)))
        for life in list(self.running):
            for member in ended.decodes:
                if member is life:
                    life.kv += 1
                    self._make_token(life, t)
            for member, new, _ in ended.chunks:
                if member is life:
                    life.kv += new
                    if not life.half_done:
                        self._make_token(life, t)

    def _make_token(self, life: Life, t: float) -> None:
        life.made += 1
        life.tokens.append(t)
        if life.made == life.asked.output_tokens:
            self.running.remove(life)
            self._end(life, t, "finished")
            if life.asked.pin:
                life.lease_end_s = t + self.lease_s
                self.pinned.append(life)
            else:
                self._free(life)

    # Beginning an iteration

    def _begin(self, t: float) -> None:
        self._join_arrived(t)
        before = self.preemptions
        for life in list(self.running):
            if life in self.running and not life.half_done:
                self._grow(life)
        decodes = [life for life in self.running if not life.half_done]
        iteration = Iteration(t, decodes, [], False)
        for life in [life for life in self.running if life.half_done]:
            self._continue_prompt(life, iteration)
        iteration.preempted = self.preemptions > before
        if not iteration.preempted or not (iteration.decodes or iteration.chunks):
            self._admit(iteration)
        if iteration.decodes or iteration.chunks:
            iteration.end_s = t + self._duration(iteration)
            self.iteration = iteration

    def _join_arrived(self, t: float) -> None:
        """Arrived decode legs come last in running order, even after a half-done prompt."""
        arrived = [life for life in self.transferring if life.arrives_s <= t]
        for life in sorted(arrived, key=lambda leg: leg.arrives_s):  # stable: admission order among equals
            self.transferring.remove(life)
            self.running.append(life)

    def _grow(self, life: Life) -> None:
        """One more token of KV; the last in running order makes room."""
        if self.limits.hard_slots or life.kv % self.limits.block_size:
            return
        while self._free_blocks() < 1:
            last = self.running[-1]
            self._preempt(last)
            if last is life:
                return
        self._take(life, 1)

    def _continue_prompt(self, life: Life, iteration: Iteration) -> None:
        chunk = min(life.goal - life.kv, self._budget(iteration))
        if chunk == 0:
            return
        if not self.limits.hard_slots:
            held = life.private + len(life.shared) * self._blocks_of(self.prefix_tokens)
            needed = self._blocks_of(life.kv + chunk) - held
            if needed > self._free_blocks():
                self._preempt(life)
                return
            self._take(life, needed)
        self._schedule(life, chunk, iteration)

    def _preempt(self, life: Life) -> None:
        self.running.remove(life)
        self._free(life)
        life.kv, life.goal, life.preempted = 0, 0, True
        self.queue.insert(0, life)
        self.preemptions += 1

    def _admit(self, iteration: Iteration) -> None:
        """From the front of the queue; the first that cannot enter stops it."""
        while self.queue and len(self.running) + len(self.transferring) < self.limits.max_seqs:
            life = self.queue[0]
            is_leg = life.asked.transfer_s is not None and not life.preempted
            entered = self._enter_leg(life, iteration.start_s) if is_leg else self._enter_prompt(life, iteration)
            if not entered:
                return

    def _enter_leg(self, life: Life, t: float) -> bool:
        received = life.asked.prompt_tokens - 1
        needed = self._blocks_of(life.total if self.limits.hard_slots else received)
        if needed > self._free_blocks():
            return False
        assert life.asked.transfer_s is not None
        self.queue.remove(life)
        self.transferring.append(life)
        self._take(life, needed)
        life.kv, life.arrives_s = received, max(t, self.wire_s) + life.asked.transfer_s
        self.wire_s = life.arrives_s
        life.cached.append(0)
        return True

    def _enter_prompt(self, life: Life, iteration: Iteration) -> bool:
        budget = self._budget(iteration)
        if budget == 0:
            return False
        goal = life.asked.prompt_tokens + life.made
        hits = self._hits(life, goal)
        cached = len(hits) * self.prefix_tokens
        chunk = min(goal - cached, budget)
        needed = self._blocks_of(cached + chunk) - self._blocks_of(cached)
        if self.limits.hard_slots:
            needed = self._blocks_of(life.total)
        newly_used = [id for id in hits if id in self.unused]
        if needed > self._free_blocks() - len(newly_used) * self._blocks_of(self.prefix_tokens):
            return False
        self.queue.remove(life)
        self.running.append(life)
        self.unused = [id for id in self.unused if id not in hits]
        life.shared = list(range(len(hits)))
        life.goal, life.kv = goal, cached
        life.cached.append(cached)
        self._take(life, needed)
        self._schedule(life, chunk, iteration)
        return True

    def _hits(self, life: Life, goal: int) -> list[int]:
        hits: list[int] = []
        for id in self._whole_ids(life):
            if id not in self._cache() or (len(hits) + 1) * self.prefix_tokens >= goal or self.limits.hard_slots:
                break
            hits.append(id)
        return hits

    def _whole_ids(self, life: Life) -> tuple[int, ...]:
        """Without the last if its prompt tokens do not fill it: output tokens after them belong to no id."""
        return life.asked.prefix[: life.asked.prompt_tokens // self.prefix_tokens]

    def _schedule(self, life: Life, chunk: int, iteration: Iteration) -> None:
        """Put a chunk into the iteration; the ids it completes can be hit from now on."""
        iteration.chunks.append((life, chunk, life.kv))
        for place, id in enumerate(self._whole_ids(life)):
            complete = (place + 1) * self.prefix_tokens <= life.kv + chunk
            if complete and id not in self._cache() and not self.limits.hard_slots:
                life.private -= self._blocks_of(self.prefix_tokens)
                life.shared = sorted([*life.shared, place])

    def _budget(self, iteration: Iteration) -> int:
        return max(self.limits.max_batched_tokens - iteration.new_tokens(), 0)

    def _duration(self, iteration: Iteration) -> float:
        """Of those in it who have not been aborted since it was composed."""
        decodes = [life for life in iteration.decodes if life in self.running]
        chunks = [(new, before) for life, new, before in iteration.chunks if life in self.running]
        return self.predictor.step_s(len(decodes), sum(life.kv + 1 for life in decodes), chunks)

    # Blocks

    def _holders(self) -> list[Life]:
        return self.running + self.transferring + self.pinned

    def _in_use(self) -> set[int]:
        """Prefix ids somebody references."""
        return {life.asked.prefix[place] for life in self._holders() for place in life.shared}

    def _cache(self) -> set[int]:
        return self._in_use() | set(self.unused)

    def _free_blocks(self) -> int:
        """Empty ones and those of unused prefixes."""
        private = sum(life.private for life in self._holders())
        return self.blocks - private - len(self._in_use()) * self._blocks_of(self.prefix_tokens)

    def _take(self, life: Life, blocks: int) -> None:
        """Blocks that are known to be free; unused prefixes make room where the empty ones do not suffice."""
        life.private += blocks
        while self._free_blocks() < len(self.unused) * self._blocks_of(self.prefix_tokens):
            self.unused.pop(0)

    def _free(self, life: Life) -> None:
        """All it holds, once it is in no list of holders any more."""
        life.private = 0
        for place in reversed(life.shared):
            if life.asked.prefix[place] not in self._in_use():
                self.unused.append(life.asked.prefix[place])
        life.shared = []

    def _blocks_of(self, tokens: int) -> int:
        return math.ceil(tokens / self.limits.block_size)

    def _unpin(self, life: Life, t: float, why: str) -> None:
        self.pinned.remove(life)
        self._free(life)
        self._end(life, t, why)

    def _end(self, life: Life, t: float, how: str) -> None:
        life.end = t, how
        self.ends.append((t, life.asked.id, how))

    def _find(self, id: str) -> Life | None:
        for life in self.queue + self._holders():
            if life.asked.id == id:
                return life
        return None

"""One engine worker in model time: continuous batching, chunked prefill, paged KV, preemption, prefix cache, leases.

Pure: the caller passes the time, and the result does not depend on how often it asks. An iteration computes one token
of every decoding sequence and fills the rest of the token budget with prompt chunks, first come first served. KV grows
by the block; when none is left, the sequence that entered last is preempted and will be computed again, as in vLLM.

Between changes of the batch nothing is stepped: iterations of one composition grow by the same seconds each, so a whole
stretch of them is two multiplications, and it ends where something changes: a sequence finishes, KV runs out, a knee of
the predictor is reached, or a caller brings news. Ending a stretch early is always right, only slower.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections import OrderedDict

from devices.simulated.kv_blocks import KvBlocks
from devices.simulated.sequence import DoesNotFit, Sequence, State, Step
from devices.simulated.stretch import Stretch
from devices.worker import Limits, Predictor

__all__ = ["DoesNotFit", "Sequence", "SimulatedWorker", "State", "Step"]

# Members of an enum are looked up by its metaclass; these are asked for many times in every iteration.
_ABORTED = State.ABORTED
_DECODE = State.DECODE
_FINISHED = State.FINISHED
_PREFILL = State.PREFILL
_READY = State.READY
_TRANSFER = State.TRANSFER
_WAITING = State.WAITING

PREFIX_TOKENS = 512
"""Prompt tokens behind one prefix id, as in Mooncake's traces."""


class SimulatedWorker:
    """Takes many iterations in one step with `skip`; lists the sequences that made a token with `list_decoded`.

    Attributes:
        limits: where `hard_slots`, KV of prompt and output is reserved on admission, and there is no prefix cache.
        submitted: sequences accepted; each ends in exactly one of `finished` and `aborted`.
        lease_expired: pinned KV dropped because nobody renewed or released it.
        preemptions: how often a sequence lost its KV and went back to the queue.
    """

    def __init__(
        self,
        predictor: Predictor,
        limits: Limits,
        *,
        lease_s: float = 30.0,
        skip: bool = True,
        list_decoded: bool = False,
        prefix_tokens: int = PREFIX_TOKENS,
    ) -> None:
        self.limits = limits
        self.lease_s = lease_s
        self.submitted = self.finished = self.aborted = self.lease_expired = self.preemptions = 0
        self._predictor = predictor
        self._skip, self._list_decoded = skip, list_decoded
        self._prefix_tokens = prefix_tokens
        self._now = -math.inf
        self._out: list[Step] = []
        self._queue: OrderedDict[str, Sequence] = OrderedDict()
        self._legs: dict[str, Sequence] = {}  # admitted decode legs that do not decode yet
        self._transfers: list[tuple[float, int, Sequence]] = []  # those whose KV is on its way, soonest first
        self._ready: list[Sequence] = []  # those whose KV is here
        self._running: dict[str, Sequence] = {}  # prefilling and decoding, in the order they entered
        self._partial: Sequence | None = None  # in greedy order at most one prompt is left half done
        self._due: list[tuple[int, int, Sequence]] = []  # (iteration, order): last tokens and marks; some are stale
        self._pinned: OrderedDict[str, Sequence] = OrderedDict()  # lease that ends first, first
        self._wire_s = -math.inf  # when all transfers so far are through
        self._orders = 0
        self._kv = KvBlocks(limits, prefix_tokens)
        self._stretch = Stretch()
        self._end_s = math.inf
        self._joined: list[Sequence] = []
        self._chunks: list[Sequence] = []
        self._sizes: list[tuple[int, int]] = []
        self._budget = 0
        self._preempted = self._blocked_hits = False

    # what others may read

    @property
    def running(self) -> int:
        """Sequences that prefill or decode."""
        return len(self._running) + len(self._ready)

    @property
    def transferring(self) -> int:
        """Admitted decode legs whose KV has not arrived."""
        return len(self._transfers)

    @property
    def waiting(self) -> int:
        """Sequences in the queue, without any KV."""
        return len(self._queue)

    @property
    def decoding(self) -> int:
        """Sequences that make a token in every iteration."""
        return self._kv.batch

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV held at the end of the last iteration, in whole blocks, pinned ones included."""
        done = self._stretch.ended_by(self._now) if self._end_s < math.inf else 0
        return self._kv.used(done) * self.limits.block_size

    @property
    def pinned_tokens(self) -> int:
        """Tokens of KV that finished prefill legs hold for a decode worker."""
        return self._kv.pinned * self.limits.block_size

    @property
    def next_event_s(self) -> float:
        """When something changes by itself: iterations, a transfer or a lease end. `math.inf` when idle."""
        at = self._end_s
        if self._transfers and self._transfers[0][0] < at:
            at = self._transfers[0][0]
        if self._pinned:
            at = min(at, next(iter(self._pinned.values())).lease_end_s)
        return at

    # what callers do

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queue a sequence; raises `DoesNotFit` for one that never could run, `ValueError` for a malformed one."""
        self._run(now)
        self._check(sequence)
        self.submitted += 1
        sequence.submitted_s = now
        self._queue[sequence.id] = sequence
        if self._end_s == math.inf:
            self._begin(now)
        elif self._stretch.start_s == now:
            self._join(now)
        elif len(self._queue) == 1 and len(self._running) + len(self._legs) < self.limits.max_seqs:
            self._interrupt(now)

    def abort(self, sequence_id: str, now: float) -> bool:
        """End a sequence in any state and free all it holds; False if it has ended already or was never here."""
        self._run(now)
        sequence = self._found(sequence_id)
        if sequence is None:
            return False
        if sequence.state is not _WAITING:
            self._isolate(now)
        elif self._close(now):
            self._begin(now)
        self._withdraw(sequence)
        sequence.state, sequence.ended_s = _ABORTED, now
        self.aborted += 1
        self._settle(now)
        return True

    def release(self, sequence_id: str, now: float) -> bool:
        """Free KV pinned for hand-over; False if it is not held (any more)."""
        self._run(now)
        if sequence_id not in self._pinned:
            return False
        if self._close(now):
            self._begin(now)
        self._unpin(sequence_id, now)
        self._settle(now)
        return True

    def renew(self, sequence_id: str, now: float) -> Sequence | None:
        """Start the lease of pinned KV anew; None if it is not held (any more)."""
        self._run(now)
        sequence = self._pinned.get(sequence_id)
        if sequence is not None:
            sequence.lease_end_s = now + self.lease_s
            self._pinned.move_to_end(sequence_id)
        return sequence

    def mark(self, sequence: Sequence, tokens: int, now: float) -> None:
        """Tell when the sequence has made so many tokens, more than it has now; each sequence has one such mark."""
        self._run(now)
        sequence.mark_tokens = tokens
        if sequence.state is _DECODE:
            self._mark(sequence)
            self._shorten(now)

    def repace(self, predictor: Predictor, now: float) -> None:
        """Work takes what this predictor says, from the next iteration on: the one under way keeps its time."""
        self._run(now)
        self._predictor = predictor
        if self._end_s < math.inf:
            self._cut(now)

    def made_tokens(self, sequence: Sequence, now: float) -> int:
        """Output tokens that a sequence on this worker has made; it has not ended yet."""
        self._run(now)
        if sequence.state is not State.DECODE:
            return sequence.made
        return sequence.token_base + self._kv.steps + self._stretch.ended_by(now)

    def advance(self, now: float) -> list[Step]:
        """Stretches that ended at or before `now` and were not returned yet, in order."""
        self._run(now)
        steps, self._out = self._out, []
        return steps

    # time

    def _run(self, now: float) -> None:
        if now < self._now:
            raise ValueError(f"time runs backwards: {now} after {self._now}")
        self._now = now
        if not self._transfers and not self._pinned:
            while self._end_s <= now and not self._transfers and not self._pinned:
                at = self._end_s
                self._end()
                self._begin(at)
            if self._end_s > now and not self._transfers and not self._pinned:
                return
        while (at := self.next_event_s) <= now:
            if self._end_s <= at:
                self._end()
            else:
                self._close(at)
            while self._transfers and self._transfers[0][0] <= at:
                arrived = self._transfers.pop(0)[2]
                arrived.state = _READY
                self._ready.append(arrived)
            while self._pinned and (oldest := next(iter(self._pinned.values()))).lease_end_s <= at:
                self._unpin(oldest.id, at)
                self.lease_expired += 1
            if self._end_s == math.inf:
                self._begin(at)
            else:
                self._settle(at)

    def _settle(self, at: float) -> None:
        """Use what has just become free, or has just arrived: now if idle, else when the iteration under way ends."""
        if self._end_s == math.inf:
            self._begin(at)
        elif self._queue or self._ready:
            self._cut(at)

    def _interrupt(self, at: float) -> None:
        """Let the queue in when the iteration under way ends; now, if one has just ended."""
        stretch = self._stretch
        if stretch.iterations == 1:
            return
        done = stretch.ended_by(at)
        if done and stretch.end_of(done) == at:
            self._end_s = stretch.cut(done)
            self._end()
            self._begin(at)
        elif done + 1 < stretch.iterations:
            self._end_s = stretch.cut(done + 1)

    def _cut(self, at: float) -> None:
        """End the stretch with the iteration under way at `at`."""
        done = self._stretch.ended_by(at)
        if done + 1 < self._stretch.iterations:
            self._end_s = self._stretch.cut(done + 1)

    def _close(self, at: float) -> bool:
        """End the stretch here if one of its iterations ends at this very instant."""
        if self._end_s == math.inf:
            return False
        done = self._stretch.ended_by(at)
        if not done or self._stretch.end_of(done) != at:
            return False
        self._end_s = self._stretch.cut(done)
        self._end()
        return True

    def _isolate(self, at: float) -> None:
        """Before something leaves in mid-iteration: book what has ended, so that only that iteration is left."""
        if self._end_s == math.inf:
            return
        done = self._stretch.ended_by(at)
        self._kv.make_room(done + 1)
        if done and self._stretch.iterations > 1:
            self._kv.book(done)
            self._tell(done)
            self._stretch.behead(done)
        self._end_s = self._stretch.cut(1)

    def _shorten(self, at: float) -> None:
        """A mark was set: the stretch must not run past it."""
        if self._due and self._end_s < math.inf:
            left = self._due[0][0] - self._kv.steps
            if left < self._stretch.iterations:
                self._end_s = self._stretch.cut(max(left, self._stretch.ended_by(at) + 1))

    # an iteration begins

    def _idle(self) -> None:
        self._end_s = math.inf
        self._preempted = self._blocked_hits = False
        if self._joined:
            self._joined = []
        if self._chunks:
            self._chunks = []
            self._sizes = []

    def _begin(self, at: float) -> None:
        self._stretch.start_s = at
        if self._ready:
            self._joined, self._ready = self._ready, []
            for sequence in self._joined:
                del self._legs[sequence.id]
                self._enter(sequence)
                self._decode(sequence, sequence.prompt_tokens - 1)
        kv = self._kv
        if kv.short():
            self._find_room()
        if kv.cache.unused:
            kv.make_room(1)
        self._budget = self.limits.max_batched_tokens - kv.batch
        if self._queue or self._partial is not None:
            self._fill(at)
        self._plan(self._sizes)

    def _fill(self, at: float) -> None:
        """Prompts take what the decodes leave of the budget: the half-done one first, then the queue."""
        if self._partial is not None:
            self._go_on(self._partial)
        # Where nobody is left to run, waiting for the next iteration would be for ever.
        if self._queue and (not self._preempted or not (self._kv.batch or self._sizes)):
            self._admit(at)

    def _join(self, at: float) -> None:
        """An iteration began at this very instant: more may enter, as long as its budget lasts."""
        if self._preempted:
            return
        entered, chunks = self._orders, len(self._sizes)
        self._admit(at)
        if len(self._sizes) > chunks:
            # Who was aborted at this instant too is no longer in it.
            here = [
                size for size, sequence in zip(self._sizes, self._chunks, strict=True) if sequence.state is _PREFILL
            ]
            self._plan(here)
        elif self._orders > entered:
            self._end_s = self._stretch.cut(self._kv.iterations_with_room(self._stretch.iterations, self._blocked_hits))

    def _plan(self, sizes: list[tuple[int, int]]) -> None:
        """How long the iteration takes, and how many alike can follow."""
        batch, context = self._kv.batch, self._kv.context
        stretch = self._stretch
        if sizes:
            gap_s = self._predictor.step_s(batch, context + batch, sizes)
            self._end_s = stretch.set(gap_s, 0.0, 1)
        elif batch:
            gap_s, slope_s, until = self._predictor.decode_line(batch, context + batch)
            self._end_s = stretch.set(gap_s, slope_s * batch, self._iterations(until))
        else:
            self._idle()

    def _iterations(self, until: float) -> int:
        """Iterations until the composition may change or the line has a knee."""
        due = self._due
        while True:
            step, order, sequence = due[0]
            if (
                sequence.order == order
                and sequence.state is _DECODE
                and (step == sequence.finish_step or step == sequence.mark_step)
            ):
                break
            heapq.heappop(due)
        if not self._skip or self._joined or self._preempted:
            return 1
        iterations, batch = step - self._kv.steps, self._kv.batch
        if until < math.inf:
            iterations = min(iterations, int((until - self._kv.context - batch) // batch) + 1)
        # While the head of the queue waits for room, a cached prefix of it that is evicted may let it in.
        return self._kv.iterations_with_room(max(iterations, 1), self._blocked_hits)

    # KV runs out

    def _find_room(self) -> None:
        """Not every decode finds a block: those who entered last are preempted until the others do."""
        taken = 0
        for sequence in list(self._running.values()):
            if sequence.state is not _DECODE or not self._kv.needs_block(sequence):
                continue
            while sequence.state is _DECODE and not self._kv.fits_after(taken):
                self._preempt(next(reversed(self._running.values())))
            if sequence.state is _DECODE:
                taken += 1
                self._kv.taken(taken)

    def _preempt(self, sequence: Sequence) -> None:
        """All its KV is lost; it goes back to the front of the queue and keeps what it has written."""
        if sequence.state is _DECODE:
            sequence.made = sequence.token_base + self._kv.steps
            sequence.last_s = self._stretch.start_s
        self._withdraw(sequence)
        sequence.state, sequence.transfer_s = _WAITING, None
        sequence.goal = sequence.prompt_tokens + sequence.made
        self._queue[sequence.id] = sequence
        self._queue.move_to_end(sequence.id, last=False)
        self.preemptions += 1
        self._preempted = True

    # prompts

    def _go_on(self, sequence: Sequence) -> None:
        """The half-done prompt: what is left of the budget, if blocks are left too."""
        size = min(sequence.goal - sequence.prefilled, max(self._budget, 0))
        kv = self._kv
        if kv.whole or kv.has(kv.of(sequence.prefilled + size) - kv.of(sequence.prefilled)):
            self._prefill(sequence, size)
        else:
            self._preempt(sequence)

    def _admit(self, at: float) -> None:
        self._blocked_hits = False
        while self._queue and len(self._running) + len(self._legs) < self.limits.max_seqs:
            sequence = next(iter(self._queue.values()))
            if sequence.transfer_s is not None:
                entered = self._enter_transfer(sequence, sequence.transfer_s, at)
            else:
                entered = self._budget > 0 and self._enter_prefill(sequence)
            if not entered:
                return
            del self._queue[sequence.id]
            if math.isnan(sequence.admitted_s):
                sequence.admitted_s = at

    def _enter_transfer(self, sequence: Sequence, transfer_s: float, at: float) -> bool:
        kv = self._kv
        whole = sequence.prompt_tokens + sequence.output_tokens
        blocks = kv.of(whole if kv.whole else sequence.prompt_tokens - 1)
        if not kv.has(blocks):
            return False
        kv.hold(sequence, blocks)
        kv.make_room(1)
        self._orders += 1
        sequence.state, sequence.kv_ready_s = _TRANSFER, max(at, self._wire_s) + transfer_s
        self._wire_s = sequence.kv_ready_s  # the next one's KV comes after this one's
        insort(self._transfers, (sequence.kv_ready_s, self._orders, sequence))
        self._legs[sequence.id] = sequence
        return True

    def _enter_prefill(self, sequence: Sequence) -> bool:
        kv = self._kv
        hits = self._hits(sequence)
        cached = hits * self._prefix_tokens
        size = min(sequence.goal - cached, self._budget)
        whole = sequence.prompt_tokens + sequence.output_tokens
        blocks = kv.of(whole if kv.whole else cached + size)
        taken = sequence.prefix[:hits]
        held = hits - kv.cache.unused_among(taken)
        if not kv.has(blocks - held * kv.cache.blocks_each):
            self._blocked_hits = hits > 0
            return False
        if hits:
            kv.cache.take(taken)
            sequence.shared = list(taken)
        if kv.whole:
            kv.hold(sequence, blocks)
        if math.isnan(sequence.admitted_s):
            sequence.cached_tokens = cached
        sequence.state, sequence.prefilled, sequence.entered = _PREFILL, cached, hits
        self._enter(sequence)
        self._prefill(sequence, size)
        return True

    def _hits(self, sequence: Sequence) -> int:
        """Whole prefix ids in the cache; the last token is always computed."""
        if not sequence.prefix or self._kv.whole:
            return 0
        most = min(sequence.goal - 1, sequence.prompt_tokens) // self._prefix_tokens
        return self._kv.cache.leading(sequence.prefix, most)

    def _prefill(self, sequence: Sequence, size: int) -> None:
        if size:
            kv, before = self._kv, sequence.prefilled
            self._sizes.append((size, before))
            self._chunks.append(sequence)
            self._budget -= size
            sequence.prefilled = before + size
            if not kv.whole:
                kv.hold(sequence, kv.of(before + size) - kv.shared(sequence))
                if kv.cache.unused:
                    kv.make_room(1)
                if sequence.prefix:
                    self._share(sequence)
        self._partial = sequence if sequence.prefilled < sequence.goal else None

    def _share(self, sequence: Sequence) -> None:
        """Prompt blocks that are being computed can be hit from now on."""
        whole = min(sequence.prefilled, sequence.prompt_tokens) // self._prefix_tokens
        for prefix_id in sequence.prefix[sequence.entered : whole]:
            self._kv.share(sequence, prefix_id)
        sequence.entered = max(whole, sequence.entered)

    # running and decoding

    def _enter(self, sequence: Sequence) -> None:
        self._orders += 1
        sequence.order = self._orders
        self._running[sequence.id] = sequence

    def _decode(self, sequence: Sequence, context: int) -> None:
        """From the next iteration on, starting with `context` tokens of KV and `sequence.made` tokens made."""
        sequence.state = _DECODE
        sequence.token_base = sequence.made - self._kv.steps
        sequence.finish_step = sequence.output_tokens - sequence.token_base
        self._kv.grow(sequence, context)
        heapq.heappush(self._due, (sequence.finish_step, sequence.order, sequence))
        if sequence.mark_tokens > sequence.made:
            self._mark(sequence)

    def _mark(self, sequence: Sequence) -> None:
        sequence.mark_step = sequence.mark_tokens - sequence.token_base
        if sequence.mark_step < sequence.finish_step:
            heapq.heappush(self._due, (sequence.mark_step, sequence.order, sequence))

    # iterations end

    def _end(self) -> None:
        stretch, kv = self._stretch, self._kv
        iterations, at, decodes = stretch.iterations, self._end_s, kv.batch
        if kv.cache.unused:
            kv.make_room(iterations)
        kv.book(iterations)
        decoded = self._listed() if self._list_decoded else ()
        first = [sequence for sequence in self._joined if sequence.state is _DECODE] if self._joined else []
        joined, prompted, prefilled_tokens = len(first), 0, 0
        finished: list[Sequence] = []
        marked: list[Sequence] = []
        resumed: list[Sequence] = []
        if self._due and self._due[0][0] <= kv.steps:
            self._due_now(finished, marked)
        if self._chunks:
            prefilled_tokens = sum([size for size, _ in self._sizes])
            prompted = self._prompts_end(first, resumed, finished, marked)
        for sequence in first:
            sequence.first_s = at
        if finished:
            finished.sort(key=_order)
            for sequence in finished:
                self._finish(sequence, at)
        if self._list_decoded:
            decoded += tuple(sequence for sequence in first + resumed if sequence not in decoded)
        self._out.append(
            Step(
                stretch.start_s,
                at,
                iterations,
                stretch.gap_s,
                stretch.growth_s,
                iterations * decodes + prompted,
                decodes - joined,
                prefilled_tokens,
                first,
                finished,
                marked,
                resumed,
                decoded,
            )
        )
        self._idle()

    def _prompts_end(
        self, first: list[Sequence], resumed: list[Sequence], finished: list[Sequence], marked: list[Sequence]
    ) -> int:
        """Prompts that are complete make a token; returns how many."""
        prompted = 0
        for sequence in self._chunks:
            if sequence.state is not _PREFILL or sequence.prefilled < sequence.goal:
                continue  # aborted on its way, or not yet complete
            prompted += 1
            (resumed if sequence.made else first).append(sequence)
            sequence.made += 1
            if sequence.made == sequence.mark_tokens:
                marked.append(sequence)
            if sequence.made == sequence.output_tokens:
                finished.append(sequence)
            else:
                self._decode(sequence, sequence.goal)
        return prompted

    def _tell(self, iterations: int) -> None:
        """Iterations at the start of a stretch that goes on: nobody finished in them."""
        stretch = self._stretch
        start_s, gap_s, growth_s = stretch.start_s, stretch.gap_s, stretch.growth_s
        end_s, batch = stretch.end_of(iterations), self._kv.batch
        decoded = self._listed() if self._list_decoded else ()
        self._out.append(
            Step(start_s, end_s, iterations, gap_s, growth_s, batch * iterations, batch, 0, [], [], [], [], decoded)
        )

    def _listed(self) -> tuple[Sequence, ...]:
        return tuple(sequence for sequence in self._running.values() if sequence.state is _DECODE)

    def _due_now(self, finished: list[Sequence], marked: list[Sequence]) -> None:
        """Whose last token, or whose mark, this iteration was."""
        due, steps = self._due, self._kv.steps
        while due and due[0][0] <= steps:
            step, order, sequence = heapq.heappop(due)
            if sequence.order != order or sequence.state is not _DECODE:
                continue
            if step == sequence.finish_step:
                self._kv.stop(sequence)
                finished.append(sequence)
            if step == sequence.mark_step:
                marked.append(sequence)

    def _finish(self, sequence: Sequence, at: float) -> None:
        sequence.state, sequence.ended_s = _FINISHED, at
        self.finished += 1
        del self._running[sequence.id]
        if sequence.pin:
            sequence.lease_end_s = at + self.lease_s
            self._pinned[sequence.id] = sequence
            self._kv.pinned += sequence.blocks + self._kv.shared(sequence)
        else:
            self._kv.free(sequence)

    # leaving

    def _found(self, sequence_id: str) -> Sequence | None:
        return self._running.get(sequence_id) or self._queue.get(sequence_id) or self._legs.get(sequence_id)

    def _withdraw(self, sequence: Sequence) -> None:
        """Take it from wherever it is and free what it holds."""
        match sequence.state:
            case State.WAITING:
                del self._queue[sequence.id]
            case State.TRANSFER:
                del self._legs[sequence.id]
                self._transfers = [entry for entry in self._transfers if entry[2] is not sequence]
            case State.READY:
                del self._legs[sequence.id]
                self._ready.remove(sequence)
            case State.DECODE:
                del self._running[sequence.id]
                self._kv.stop(sequence)
            case _:
                del self._running[sequence.id]
                if sequence is self._partial:
                    self._partial = None
        self._kv.free(sequence)

    def _unpin(self, sequence_id: str, at: float) -> None:
        if self._end_s < math.inf:
            self._kv.make_room(self._stretch.ended_by(at) + 1)
        sequence = self._pinned.pop(sequence_id)
        self._kv.pinned -= sequence.blocks + self._kv.shared(sequence)
        self._kv.free(sequence)

    def _check(self, sequence: Sequence) -> None:
        limits, tokens = self.limits, sequence.prompt_tokens + sequence.output_tokens
        if sequence.prompt_tokens < 1 or sequence.output_tokens < 1:
            raise ValueError(f"sequence {sequence.id}: needs at least one prompt token and one output token")
        name = sequence.id
        if name in self._running or name in self._queue or name in self._legs or name in self._pinned:
            raise ValueError(f"sequence {sequence.id} is already on this worker")
        if tokens > limits.max_context_tokens or self._kv.of(tokens) > self.limits.kv_tokens // self.limits.block_size:
            raise DoesNotFit(
                f"sequence {sequence.id}: {sequence.prompt_tokens} prompt + {sequence.output_tokens} output tokens "
                f"exceed the context of {limits.max_context_tokens} or the KV cache of {limits.kv_tokens} tokens"
            )


def _order(sequence: Sequence) -> int:
    return sequence.order

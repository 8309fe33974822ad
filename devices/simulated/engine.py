"""One engine worker in model time: continuous batching, chunked prefill, a KV limit, leases on handed-over KV.

Pure: the caller passes the time, and the result does not depend on how often it asks. An iteration computes one token
of every decoding sequence and fills the rest of the token budget with prompt chunks, first come first served. A worker
reserves the KV of prompt and output when it admits a sequence, so nothing is ever preempted.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import OrderedDict

from devices.simulated.sequence import DoesNotFit, Sequence, State, Step
from devices.worker import Limits, Predictor

__all__ = ["DoesNotFit", "Sequence", "SimulatedWorker", "State", "Step"]


class SimulatedWorker:
    """With `list_decoded=False`, `Step.decoded` stays empty and an iteration costs the same at any batch."""

    def __init__(
        self, predictor: Predictor, limits: Limits, *, lease_s: float = 30.0, list_decoded: bool = True
    ) -> None:
        self.limits = limits
        self.lease_s = lease_s
        self._predictor = predictor
        self._list_decoded = list_decoded
        self._now = -math.inf
        self._out: list[Step] = []
        self._queue: OrderedDict[str, Sequence] = OrderedDict()
        self._admitted: dict[str, Sequence] = {}
        self._transfers: list[Sequence] = []  # soonest first
        self._ready: list[Sequence] = []
        self._partial: Sequence | None = None  # in greedy order at most one prompt is left half done
        self._decoding: dict[str, Sequence] = {}
        self._finishing: dict[int, list[Sequence]] = {}  # by the iteration that produces the last token
        self._pinned: OrderedDict[str, Sequence] = OrderedDict()  # lease that ends first, first
        self._steps = 0
        self._context = 0  # tokens held by decoding sequences
        self._kv = self._pinned_kv = 0
        self._submitted = self._finished = self._aborted = self._lease_expired = 0
        self._idle()

    @property
    def running(self) -> int:
        """Sequences that prefill or decode."""
        return len(self._admitted) - len(self._transfers)

    @property
    def transferring(self) -> int:
        """Admitted decode legs whose KV has not arrived."""
        return len(self._transfers)

    @property
    def waiting(self) -> int:
        """Sequences in the queue, without any KV."""
        return len(self._queue)

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV reserved, pinned ones included."""
        return self._kv

    @property
    def pinned_tokens(self) -> int:
        """Tokens of KV that finished prefill legs hold for a decode worker."""
        return self._pinned_kv

    @property
    def submitted(self) -> int:
        """Sequences accepted; each ends in exactly one of `finished` and `aborted`."""
        return self._submitted

    @property
    def finished(self) -> int:
        """Sequences that produced their last token."""
        return self._finished

    @property
    def aborted(self) -> int:
        """Sequences ended by `abort`."""
        return self._aborted

    @property
    def lease_expired(self) -> int:
        """Pinned KV dropped because nobody renewed or released it."""
        return self._lease_expired

    @property
    def next_event_s(self) -> float:
        """When something changes by itself: an iteration, a transfer or a lease ends. `math.inf` when idle."""
        at = self._end_s
        if self._transfers:
            at = min(at, _arrival_s(self._transfers[0]))
        if self._pinned:
            at = min(at, next(iter(self._pinned.values())).lease_end_s)
        return at

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queue a sequence; raises `DoesNotFit` for one that never could run, `ValueError` for a malformed one."""
        self._check(sequence)
        self._run(now)
        self._submitted += 1
        sequence.submitted_s = now
        self._queue[sequence.id] = sequence
        self._settle(now)

    def abort(self, sequence_id: str, now: float) -> bool:
        """End a sequence in any state and free all it holds; False if it has ended already or was never here."""
        self._run(now)
        sequence = self._admitted.get(sequence_id) or self._queue.get(sequence_id)
        if sequence is None:
            return False
        self._withdraw(sequence)
        sequence.state, sequence.ended_s = State.ABORTED, now
        self._aborted += 1
        self._settle(now)
        return True

    def release(self, sequence_id: str, now: float) -> bool:
        """Free KV pinned for hand-over; False if it is not held (any more)."""
        self._run(now)
        if sequence_id not in self._pinned:
            return False
        self._unpin(sequence_id)
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

    def advance(self, now: float) -> list[Step]:
        """Every iteration that ended at or before `now` and was not returned yet, in order."""
        self._run(now)
        steps, self._out = self._out, []
        return steps

    def _check(self, sequence: Sequence) -> None:
        limits, tokens = self.limits, sequence.prompt_tokens + sequence.output_tokens
        if sequence.prompt_tokens < 1 or sequence.output_tokens < 1 or sequence.cached_tokens < 0:
            raise ValueError(f"sequence {sequence.id}: needs at least one prompt token and one output token")
        if sequence.id in self._queue or sequence.id in self._admitted or sequence.id in self._pinned:
            raise ValueError(f"sequence {sequence.id} is already on this worker")
        sequence.kv_tokens = -(-tokens // limits.block_size) * limits.block_size
        if tokens > limits.max_context_tokens or sequence.kv_tokens > limits.kv_tokens:
            raise DoesNotFit(
                f"sequence {sequence.id}: {sequence.prompt_tokens} prompt + {sequence.output_tokens} output tokens "
                f"exceed the context of {limits.max_context_tokens} or the KV cache of {limits.kv_tokens} tokens"
            )
        sequence.prefill_left = max(sequence.prompt_tokens - sequence.cached_tokens, 1)

    def _run(self, now: float) -> None:
        if now < self._now:
            raise ValueError(f"time runs backwards: {now} after {self._now}")
        self._now = now
        while (at := self.next_event_s) <= now:
            if self._end_s <= at:
                self._end_iteration()
            while self._transfers and _arrival_s(self._transfers[0]) <= at:
                arrived = self._transfers.pop(0)
                arrived.state = State.READY
                self._ready.append(arrived)
            while self._pinned and (oldest := next(iter(self._pinned.values()))).lease_end_s <= at:
                self._unpin(oldest.id)
                self._lease_expired += 1
            self._settle(at)

    def _settle(self, at: float) -> None:
        """Use what has just become free: start an iteration, or add to the one that starts at this very instant."""
        if self._end_s == math.inf:
            self._begin_iteration(at)
            return
        if at > self._start_s:
            self._budget = 0  # the iteration is under way; only decode legs, which need no compute yet, may enter
        chunks = len(self._chunks)
        self._admit(at)
        if len(self._chunks) > chunks:
            self._time()

    def _idle(self) -> None:
        self._start_s, self._end_s = math.inf, math.inf
        self._budget = self._batch = self._batch_context = 0
        self._joined: list[Sequence] = []
        self._chunks: list[Sequence] = []
        self._sizes: list[tuple[int, int]] = []

    def _begin_iteration(self, at: float) -> None:
        self._start_s = at
        self._joined, self._ready = self._ready, []
        for sequence in self._joined:
            self._decode(sequence, self._steps)
        self._batch, self._batch_context = len(self._decoding), self._context
        self._chunks, self._sizes = [], []
        self._budget = self.limits.max_batched_tokens - self._batch
        if self._partial is not None:
            self._prefill(self._partial)
        self._admit(at)
        self._time()

    def _time(self) -> None:
        if self._batch or self._sizes:
            self._end_s = self._start_s + self._predictor.step_s(self._batch, self._batch_context, self._sizes)

    def _admit(self, at: float) -> None:
        while self._queue and len(self._admitted) < self.limits.max_seqs:
            sequence = next(iter(self._queue.values()))
            remote = sequence.kv_ready_s is not None
            if self._kv + sequence.kv_tokens > self.limits.kv_tokens or not (remote or self._budget > 0):
                return
            del self._queue[sequence.id]
            self._admitted[sequence.id] = sequence
            self._kv += sequence.kv_tokens
            sequence.admitted_s = at
            if remote:
                sequence.state = State.TRANSFER
                sequence.kv_ready_s = max(_arrival_s(sequence) + (at - sequence.submitted_s), at)
                insort(self._transfers, sequence, key=_arrival_s)
            else:
                sequence.state = State.PREFILL
                self._prefill(sequence)

    def _prefill(self, sequence: Sequence) -> None:
        """Give a prompt what is left of the budget; decodes alone may have used it up."""
        size = min(sequence.prefill_left, max(self._budget, 0))
        if size:
            self._sizes.append((size, sequence.prompt_tokens - sequence.prefill_left))
            self._chunks.append(sequence)
        self._budget -= size
        sequence.prefill_left -= size
        self._partial = sequence if sequence.prefill_left else None

    def _decode(self, sequence: Sequence, born_step: int) -> None:
        sequence.state, sequence.born_step = State.DECODE, born_step
        self._decoding[sequence.id] = sequence
        self._context += sequence.prompt_tokens + self._steps - born_step
        self._finishing.setdefault(born_step + sequence.output_tokens, []).append(sequence)

    def _end_iteration(self) -> None:
        self._steps += 1
        at = self._end_s
        decoded = tuple(self._decoding.values()) if self._list_decoded else ()
        tokens = len(self._decoding)
        self._context += tokens
        first = [sequence for sequence in self._joined if sequence.state is State.DECODE]
        finished = self._finishing.pop(self._steps, [])
        for sequence in finished:
            self._withdraw_decode(sequence)
        prefilled = [s for s in self._chunks if s.state is State.PREFILL and not s.prefill_left]
        for sequence in prefilled:
            if sequence.output_tokens == 1:
                finished.append(sequence)
            else:
                self._decode(sequence, self._steps - 1)
        first += prefilled
        for sequence in first:
            sequence.first_s = at
        for sequence in finished:
            self._finish(sequence, at)
        if self._list_decoded:
            decoded += tuple(prefilled)
        chunk_tokens = sum(size for size, _ in self._sizes)
        step = Step(self._start_s, at, tokens + len(prefilled), chunk_tokens, tuple(first), tuple(finished), decoded)
        self._out.append(step)
        self._idle()

    def _finish(self, sequence: Sequence, at: float) -> None:
        sequence.state, sequence.ended_s = State.FINISHED, at
        self._finished += 1
        del self._admitted[sequence.id]
        if sequence.pin:
            sequence.lease_end_s = at + self.lease_s
            self._pinned[sequence.id] = sequence
            self._pinned_kv += sequence.kv_tokens
        else:
            self._kv -= sequence.kv_tokens

    def _unpin(self, sequence_id: str) -> None:
        sequence = self._pinned.pop(sequence_id)
        self._kv -= sequence.kv_tokens
        self._pinned_kv -= sequence.kv_tokens

    def _withdraw(self, sequence: Sequence) -> None:
        if sequence.state is State.WAITING:
            del self._queue[sequence.id]
            return
        del self._admitted[sequence.id]
        self._kv -= sequence.kv_tokens
        if sequence.state is State.TRANSFER:
            self._transfers.remove(sequence)
        elif sequence.state is State.READY:
            self._ready.remove(sequence)
        elif sequence.state is State.DECODE:
            self._finishing[sequence.born_step + sequence.output_tokens].remove(sequence)
            self._withdraw_decode(sequence)
        elif sequence is self._partial:
            self._partial = None

    def _withdraw_decode(self, sequence: Sequence) -> None:
        del self._decoding[sequence.id]
        self._context -= sequence.prompt_tokens + self._steps - sequence.born_step


def _arrival_s(sequence: Sequence) -> float:
    assert sequence.kv_ready_s is not None  # only decode legs are transferred
    return sequence.kv_ready_s

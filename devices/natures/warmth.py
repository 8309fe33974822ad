"""Which compiled programs a bucketed worker has ready; a value, so a scheduler can ask before it places a request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from devices.natures.padded import bucket
from devices.profile import DeviceProfile


@dataclass(frozen=True, slots=True)
class Warmth:
    """One program for each batch bucket (decode) and length bucket (prefill chunk). Cold ones compile on first use.

    Attributes:
        batches, lengths: all buckets, ascending.
        warm_batches, warm_lengths: those compiled already.
        compile_s: seconds to compile one.
    """

    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    compile_s: float
    warm_batches: frozenset[int] = frozenset()
    warm_lengths: frozenset[int] = frozenset()

    @classmethod
    def cold(cls, device: DeviceProfile) -> Warmth:
        """A worker that has just started, without a compilation cache."""
        return cls(device.batch_buckets, device.length_buckets, device.compile_s)

    def warmed(self) -> Warmth:
        """All compiled, as engines do before they open their port."""
        return replace(self, warm_batches=frozenset(self.batches), warm_lengths=frozenset(self.lengths))

    @property
    def start_s(self) -> float:
        """Seconds to compile all that is still cold."""
        cold = len(self.batches) - len(self.warm_batches) + len(self.lengths) - len(self.warm_lengths)
        return cold * self.compile_s

    def cold_s(self, decodes: int, chunks: Iterable[int] = ()) -> float:
        """Seconds an iteration of `decodes` sequences and chunks of such sizes waits for the compiler; 0 if warm."""
        batches, lengths = self._programs(decodes, chunks)
        return self.compile_s * (len(batches - self.warm_batches) + len(lengths - self.warm_lengths))

    def after(self, decodes: int, chunks: Iterable[int] = ()) -> Warmth:
        """What is warm once that iteration has run."""
        batches, lengths = self._programs(decodes, chunks)
        return replace(self, warm_batches=self.warm_batches | batches, warm_lengths=self.warm_lengths | lengths)

    def _programs(self, decodes: int, chunks: Iterable[int]) -> tuple[frozenset[int], frozenset[int]]:
        """Beyond the largest bucket its program runs several times over."""
        return _used((decodes,), self.batches), _used(chunks, self.lengths)


def _used(sizes: Iterable[int], buckets: tuple[int, ...]) -> frozenset[int]:
    return frozenset(min(bucket(size, buckets), buckets[-1]) for size in sizes if size)

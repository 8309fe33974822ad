"""A changed predictor is its base times what was said, in every answer it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import catalog
from devices.natures.altered import Misstated, Slowed
from devices.natures.choice import predictor
from devices.profile import Precision

FACTORS = st.floats(0.1, 10)
BATCHES = st.integers(1, 256)
TOKENS = st.integers(1, 100_000)


@dataclass(frozen=True)
class Kneed:
    """Decode grows with the cache up to 1,000 tokens a sequence; chunks are added to it."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return 0.002 + new_tokens * 1e-4 + cached_tokens * 1e-6

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return 0.01 + 1e-7 * min(kv_tokens, 1000 * sequences)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        decode_s = self.decode_step_s(decodes, kv_tokens) if decodes else 0.002
        return decode_s + sum(new * 1e-4 + context * 1e-6 for new, context in chunks)

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        below = kv_tokens < 1000 * sequences
        return (
            self.decode_step_s(sequences, kv_tokens),
            1e-7 if below else 0.0,
            1000.0 * sequences if below else math.inf,
        )


BASE = Kneed()


@given(FACTORS, BATCHES, TOKENS, TOKENS)
def test_a_slow_worker_takes_as_many_times_as_long_for_everything(
    factor: float, batch: int, held: int, new: int
) -> None:
    slow = Slowed(BASE, factor)
    assert slow.prefill_s(new, held) == factor * BASE.prefill_s(new, held)
    assert slow.decode_step_s(batch, held) == factor * BASE.decode_step_s(batch, held)
    assert slow.step_s(batch, held, [(new, 7)]) == factor * BASE.step_s(batch, held, [(new, 7)])


@given(FACTORS, FACTORS, BATCHES, TOKENS)
def test_the_line_of_a_changed_predictor_is_its_decode_step_as_far_as_it_holds(
    scale: float, shape: float, batch: int, held: int
) -> None:
    for changed in (Slowed(BASE, scale), Misstated(BASE, scale, shape), Misstated(Slowed(BASE, scale), 1.0, shape)):
        seconds, per_token, until = changed.decode_line(batch, held)
        assert seconds == changed.decode_step_s(batch, held) == changed.step_s(batch, held, [])
        further = min(until, held + 500.0)
        assert changed.decode_step_s(batch, further) == pytest.approx(seconds + per_token * (further - held), rel=1e-12)


@given(FACTORS, FACTORS, BATCHES, TOKENS, TOKENS)
def test_scale_and_shape_part_prompts_from_decode(scale: float, shape: float, batch: int, held: int, new: int) -> None:
    off = Misstated(BASE, scale, shape)
    prompts, decode = (
        off.prefill_s(new) / BASE.prefill_s(new),
        off.decode_step_s(batch, held) / BASE.decode_step_s(batch, held),
    )
    assert math.sqrt(prompts * decode) == pytest.approx(scale)
    assert math.sqrt(prompts / decode) == pytest.approx(shape)


def test_what_chunks_add_to_a_decode_step_counts_as_work_on_prompts() -> None:
    off = Misstated(BASE, scale=2.0, shape=1.5)
    added_s = BASE.step_s(8, 4000, [(100, 0)]) - BASE.decode_step_s(8, 4000)
    assert off.step_s(8, 4000, [(100, 0)]) == pytest.approx(2 / 1.5 * BASE.decode_step_s(8, 4000) + 2 * 1.5 * added_s)
    assert off.step_s(0, 0, [(100, 50)]) == pytest.approx(2 * 1.5 * BASE.step_s(0, 0, [(100, 50)]))


def test_nothing_misstated_changes_nothing() -> None:
    assert Misstated(BASE).step_s(3, 100, [(64, 0)]) == pytest.approx(BASE.step_s(3, 100, [(64, 0)]), rel=1e-15)
    assert Misstated(BASE).decode_line(3, 100) == BASE.decode_line(3, 100)


@pytest.mark.parametrize(
    ("device", "chips", "precision"),
    [
        ("h200-sxm", 4, Precision.FP8),
        ("tpu-v6e", 8, Precision.BF16),
        ("groq-lpu-v1", 576, Precision.INT8),
        ("xeon-6980p", 2, Precision.BF16),
    ],
)
def test_every_nature_keeps_its_line_when_changed(device: str, chips: int, precision: Precision) -> None:
    base = predictor(catalog.device(device), catalog.model("llama-3.1-70b"), chips, precision, Precision.FP16)
    for changed, factor in ((Slowed(base, 3.0), 3.0), (Misstated(base, 1.2, 0.8), 1.5)):
        seconds, per_token, until = changed.decode_line(8, 8000.0)
        assert seconds == pytest.approx(factor * base.decode_step_s(8, 8000.0), rel=1e-12)
        assert until > 8000.0
        assert changed.decode_step_s(8, 8100.0) == pytest.approx(seconds + 100 * per_token, rel=1e-9)
        assert changed.step_s(8, 8000.0, [(512, 0)]) > changed.step_s(8, 8000.0, [])

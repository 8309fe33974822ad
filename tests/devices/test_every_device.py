"""What must hold of every device of the catalogue that can be placed, with models of every kind."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import catalog
from devices.feasibility import Infeasible, fewest_chips, limits
from devices.natures.choice import predictor
from devices.natures.predictor_table import PredictorTable
from devices.profile import Nature, Precision
from devices.worker import Limits, Predictor

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "deepseek-v3.2", "gpt-oss-120b", "qwen3.5-397b-a17b", "llama-4-scout")
"""Dense small and large; latent and sparse attention; sliding window; fixed states; chunked attention."""
DEVICES = tuple(name for name in catalog.device_ids() if catalog.device(name).placeable)
WIDEST_FIRST = (Precision.BF16, Precision.FP16, Precision.FP8, Precision.INT8, Precision.FP4, Precision.INT4)

cases = st.tuples(st.sampled_from(DEVICES), st.sampled_from(MODELS))
batch = st.integers(0, 400)
kv = st.integers(0, 1_000_000)
tokens = st.integers(1, 40_000)
context = st.integers(0, 100_000)
chunk = st.tuples(st.integers(1, 8192), context)


@cache
def smallest(name: str, model_id: str) -> tuple[Predictor, Limits] | None:
    """The smallest worker that holds the model in the widest format possible; None if there is none."""
    device, model = catalog.device(name), catalog.model(model_id)
    for precision in WIDEST_FIRST:
        try:
            chips = fewest_chips(device, model, precision, Precision.FP16)
            if chips:
                fits = limits(device, model, chips, precision, Precision.FP16)
                return predictor(device, model, chips, precision, Precision.FP16), fits
        except Infeasible:
            continue  # the next format
    return None


def under(case: tuple[str, str]) -> Predictor:
    """The smallest worker, or the smallest for an 8B model on devices that cannot hold this one."""
    found = smallest(*case) or smallest(case[0], "llama-3.1-8b")
    assert found is not None, f"{case[0]} does not hold even an 8B model"
    return found[0]


@pytest.mark.parametrize("name", DEVICES)
def test_it_holds_at_least_an_8b_model(name: str) -> None:
    found = smallest(name, "llama-3.1-8b")
    assert found is not None
    assert found[1].kv_tokens > 0 < found[1].max_seqs
    assert found[1].hard_slots == (
        catalog.device(name).nature is Nature.SRAM or name == "trainium3-cs3"  # decode on wafers
    )


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("name", DEVICES)
def test_its_times_grow_with_tokens_batch_and_context(name: str, model_id: str) -> None:
    """The properties below draw cases; this walks all of them over a grid that crosses buckets, chunks and knees."""
    one = under((name, model_id))
    batches, held = (0, 1, 7, 8, 9, 64, 65, 100, 300), (0, 10, 1000, 50_000, 1_000_000)
    decode = np.array([[one.decode_step_s(b, k) for k in held] for b in batches])
    lengths, before = (1, 15, 17, 128, 129, 1000, 1025, 8192, 8200, 30_000), (0, 100, 3000, 60_000)
    prefill = np.array([[one.prefill_s(n, c) for c in before] for n in lengths])
    for times in (decode, prefill):
        assert np.isfinite(times).all()
        assert (times > 0).all()
        assert (np.diff(times, axis=0) >= -1e-12 * times[1:]).all()
        assert (np.diff(times, axis=1) >= -1e-12 * times[:, 1:]).all()


@given(cases, batch, kv, st.lists(chunk, max_size=4))
def test_a_step_takes_time(case: tuple[str, str], decodes: int, held: int, chunks: list[tuple[int, int]]) -> None:
    assert 0 < under(case).step_s(decodes, held, chunks) < math.inf


@given(cases, batch, kv)
def test_a_decode_step_is_a_step_without_chunks(case: tuple[str, str], decodes: int, held: int) -> None:
    assert under(case).decode_step_s(decodes, held) == pytest.approx(under(case).step_s(decodes, held, []), rel=1e-12)


@given(cases, batch, batch, kv, kv)
def test_more_sequences_and_more_context_never_take_less_time(
    case: tuple[str, str], fewer: int, more: int, less: int, longer: int
) -> None:
    fewer, more = sorted((fewer, more))
    less, longer = sorted((less, longer))
    most_s = under(case).decode_step_s(more, longer) * (1 + 1e-12)
    assert under(case).decode_step_s(fewer, longer) <= most_s
    assert under(case).decode_step_s(more, less) <= most_s


@given(cases, tokens, tokens, context, context)
def test_a_longer_prompt_and_a_longer_prefix_never_take_less_time(
    case: tuple[str, str], shorter: int, longer: int, less: int, more: int
) -> None:
    shorter, longer = sorted((shorter, longer))
    less, more = sorted((less, more))
    most_s = under(case).prefill_s(longer, more) * (1 + 1e-9)
    assert 0 < under(case).prefill_s(shorter, more) <= most_s
    assert 0 < under(case).prefill_s(longer, less) <= most_s


@given(cases, batch, kv, chunk, st.integers(0, 1000), context)
def test_a_chunk_never_shortens_a_step_nor_does_a_longer_one(
    case: tuple[str, str], decodes: int, held: int, work: tuple[int, int], more: int, further: int
) -> None:
    new, before = work
    with_s = under(case).step_s(decodes, held, [work]) * (1 + 1e-12)
    assert under(case).decode_step_s(decodes, held) <= with_s
    assert with_s <= under(case).step_s(decodes, held, [(new + more, before + further)]) * (1 + 1e-9)


@given(cases)
def test_units_agree_times_of_work_lie_between_a_microsecond_and_ten_minutes(case: tuple[str, str]) -> None:
    """A slip between milliseconds and seconds, GB and bytes or TFLOP and FLOP would leave these bounds."""
    assert 1e-4 < under(case).decode_step_s(1, 1000) < 5
    assert 1e-4 < under(case).prefill_s(2000) < 600
    assert under(case).prefill_s(2000) > under(case).decode_step_s(1, 2000) / 2000


@settings(max_examples=30)
@given(
    st.lists(st.tuples(cases, st.integers(0, 1024), st.floats(0, 1e7)), min_size=1, max_size=40),
)
def test_the_table_says_what_the_predictors_say(rows: list[tuple[tuple[str, str], int, float]]) -> None:
    asked = [under(case) for case, _, _ in rows]
    sequences, held = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    got = PredictorTable(asked).decode_step_s(sequences, held)
    expected = [one.decode_step_s(b, k) for one, (_, b, k) in zip(asked, rows, strict=True)]
    assert got == pytest.approx(expected, rel=1e-9)


def test_one_table_of_all_devices_and_models_says_what_each_predictor_says() -> None:
    asked = [under((name, model_id)) for name in DEVICES for model_id in MODELS]
    table, ones = PredictorTable(asked), np.ones(len(asked), dtype=np.int64)
    for decodes, held in ((0, 0.0), (1, 100.0), (65, 300_000.0), (1000, 2e7)):
        got = table.decode_step_s(decodes * ones, held * ones)
        assert got == pytest.approx([one.decode_step_s(decodes, held) for one in asked], rel=1e-9)

"""The numpy twin; that it agrees on the whole catalogue is shown in `test_every_device`."""

from dataclasses import replace

import numpy as np
import pytest

from devices.catalog import device, model
from devices.natures.choice import predictor
from devices.natures.composite import CompositePredictor, LayerSplitPredictor
from devices.natures.hbm import HbmPredictor
from devices.natures.predictor_table import PredictorTable, Terms, terms
from devices.natures.remote import RemotePredictor
from devices.profile import Precision

GPU = predictor(device("h200-sxm"), model("deepseek-v3"), 8, Precision.FP8, Precision.FP16)
TPU = predictor(device("tpu-v6e"), model("llama-3.1-70b"), 8, Precision.BF16, Precision.BF16)
RACK = predictor(device("vera-rubin-lpx"), model("llama-3.1-70b"), 8, Precision.FP8, Precision.FP16)


class Odd:
    """A predictor of a kind the table has never heard of."""

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return 0.5 + sequences + kv_tokens


def ask(table: PredictorTable, sequences: list[int], kv_tokens: list[float]) -> list[float]:
    return list(table.decode_step_s(np.array(sequences), np.array(kv_tokens)))


def test_predictors_without_terms_are_asked_singly_among_the_others() -> None:
    got = ask(PredictorTable([GPU, Odd(), TPU]), [3, 4, 5], [10.0, 20.0, 30.0])
    assert got == pytest.approx([GPU.decode_step_s(3, 10), 24.5, TPU.decode_step_s(5, 30)])


def test_batches_are_rounded_up_row_by_row() -> None:
    got = ask(PredictorTable([TPU, TPU, TPU, GPU]), [0, 9, 300, 9], [0.0] * 4)
    expected = [TPU.decode_step_s(0, 0), TPU.decode_step_s(16, 0), TPU.decode_step_s(512, 0), GPU.decode_step_s(9, 0)]
    assert got == pytest.approx(expected)


def test_a_batch_no_engine_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="4097 sequences on one worker; at most 4096"):
        ask(PredictorTable([TPU]), [4097], [0.0])


def test_a_crowded_api_slows() -> None:
    api = RemotePredictor(0.2, 0.01, slope_per_sequence=0.1, concurrency=5)
    assert ask(PredictorTable([api, api]), [3, 7], [0.0, 0.0]) == pytest.approx([0.01, 0.012])


def test_a_mixture_whose_every_token_hits_all_experts_is_read_like_a_dense_model() -> None:
    assert isinstance(GPU, HbmPredictor)
    all_hit = replace(GPU, missed=0.0)
    assert ask(PredictorTable([all_hit]), [3], [0.0]) == pytest.approx([all_hit.decode_step_s(3, 0)])


def test_a_layer_split_over_an_unknown_or_a_bucketed_part_has_no_terms() -> None:
    assert isinstance(RACK, CompositePredictor)
    split = RACK.decode
    assert isinstance(split, LayerSplitPredictor)
    assert isinstance(terms(split), Terms)
    assert terms(replace(split, ffn=Odd())) is None
    assert terms(replace(split, ffn=TPU)) is None

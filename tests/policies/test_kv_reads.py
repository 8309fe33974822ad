from __future__ import annotations

import numpy as np
import pytest
from builders import pool, worker
from fleets import API, PREDICTORS

from devices.worker import Predictor
from policies.kv_reads import KvReads


@pytest.mark.parametrize("predictor", [*PREDICTORS, API], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("batch", [1, 3, 200])
@pytest.mark.parametrize("kv_tokens", [0.0, 150.5, 40_000.0, 2e6])
def test_a_step_is_its_part_that_reads_no_cache_and_what_the_cache_adds(
    predictor: Predictor, batch: int, kv_tokens: float
) -> None:
    of = pool("p", predictor=predictor)  # type: ignore[arg-type]  # any predictor will do
    flat_s = np.array([predictor.decode_step_s(batch, 0.0)])
    [seconds] = KvReads([worker("w", of)]).step_s(flat_s, np.array([float(batch)]), np.array([kv_tokens]))
    assert seconds == pytest.approx(predictor.decode_step_s(batch, kv_tokens), rel=1e-12)

"""The column store of results."""

import numpy as np
import pytest

from loadgen.result import Result
from loadgen.results import Results
from policies.api import Slo
from router.ledger import Outcome

PROMISE = Slo(ttft_s=1.0)


def test_appending_goes_on_while_columns_are_read() -> None:
    results = Results()
    results.append(0.0, Outcome.COMPLETED, "chat", PROMISE, 0.5, 1.0, 100, 10, 0, "a-0", "b-0", "")
    before = results.column("ttft_s")
    read = iter(results)
    results.append(1.0, Outcome.REJECTED, "chat", PROMISE, None, None, 100, 0, 0, "", "", "no room")
    assert before.tolist() == [0.5]
    assert [result.message for result in read] == [""]
    assert np.isnan(results.column("ttft_s")).tolist() == [False, True]
    assert results[1] == Result(1.0, Outcome.REJECTED, "chat", PROMISE, prompt_tokens=100, message="no room")


def test_promises_are_told_apart_by_identity_and_come_back_as_the_same_object() -> None:
    results = Results()
    for promise in (PROMISE, Slo(), PROMISE):
        results.append(0.0, Outcome.COMPLETED, "", promise, 0.5, 1.0, 1, 1, 0, "a", "a", "")
    assert results.column("slo").tolist() == [0, 1, 0]
    assert results[2].slo is PROMISE


def test_of_results_it_is_itself() -> None:
    results = Results()
    assert Results.of(results) is results


def test_no_request_has_a_number_past_the_end() -> None:
    with pytest.raises(IndexError):
        Results()[0]

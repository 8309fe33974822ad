"""Every policy in the table passes these; a policy added there is tested without another line."""

from __future__ import annotations

import pytest
from builders import BOTH, DECODE, PREFILL, fleet, pool, request, worker
from hypothesis import given
from hypothesis import strategies as st

from devices.worker import Link
from policies.api import Placement, Policy
from policies.table import POLICIES, load

LINK = {("p", "d"): Link(50e9, 0.0005, 2e-6)}

every_policy = pytest.mark.parametrize("policy", [load(name) for name in POLICIES], ids=list(POLICIES))


@every_policy
def test_it_places_on_the_only_worker(policy: Policy) -> None:
    only = worker()
    placement = policy.place(request(), fleet(only), now=0.0)
    assert isinstance(placement, Placement)
    assert placement.prefill is only
    assert placement.decode is only


@every_policy
def test_it_splits_where_no_worker_serves_both_phases(policy: Policy) -> None:
    p, d = worker("p-0", pool("p", phases=PREFILL)), worker("d-0", pool("d", phases=DECODE))
    placement = policy.place(request(), fleet(p, d, links=LINK), now=0.0)
    assert isinstance(placement, Placement)
    assert (placement.prefill, placement.decode) == (p, d)
    assert placement.split


@every_policy
def test_it_waits_when_no_pair_is_free(policy: Policy) -> None:
    full = fleet(worker("lpu-0", pool("lpu", hard_slots=True, max_seqs=0)))
    assert policy.place(request(), full, now=0.0) is None


@every_policy
def test_a_decode_worker_that_nobody_can_prefill_for_is_never_chosen(policy: Policy) -> None:
    alone, whole = worker("d-0", pool("d", phases=DECODE)), worker("g-0", pool("g"))
    placement = policy.place(request(), fleet(alone, whole), now=0.0)
    assert isinstance(placement, Placement)
    assert placement.decode is whole


@every_policy
def test_what_cannot_be_split_stays_on_one_worker(policy: Policy) -> None:
    workers = [worker("p-0", pool("p", phases=BOTH)), worker("d-0", pool("d", phases=DECODE))]
    for number in range(20):
        placement = policy.place(request(f"r{number}", splittable=False), fleet(*workers, links=LINK), now=0.0)
        assert isinstance(placement, Placement)
        assert not placement.split


@every_policy
def test_it_answers_the_same_when_asked_the_same(policy: Policy) -> None:
    workers = [worker(f"w-{i}") for i in range(5)]
    first = policy.place(request("r9"), fleet(*workers), now=3.0)
    again = policy.place(request("r9"), fleet(*workers), now=3.0)
    assert first == again


@every_policy
@given(lost=st.sets(st.integers(0, 4)), prompt=st.integers(1, 60_000), number=st.integers(0, 10_000))
def test_it_only_chooses_workers_in_rotation(policy: Policy, lost: set[int], prompt: int, number: int) -> None:
    workers = [worker(f"w-{i}", pool(f"pool-{i}", max_context_tokens=20_000 * (i + 1))) for i in range(5)]
    view = fleet(*workers)
    for index in lost:
        view.set_routable(workers[index], False)
    placement = policy.place(request(f"r{number}", prompt_tokens=prompt), view, now=0.0)
    if placement is None:
        assert all(i in lost or prompt >= 20_000 * (i + 1) for i in range(5))
    else:
        assert isinstance(placement, Placement)
        assert view.is_routable(placement.decode)
        assert prompt < placement.decode.pool.limits.max_context_tokens

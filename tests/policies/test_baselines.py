from __future__ import annotations

from collections import Counter

from builders import DECODE, PREFILL, fleet, pool, request, worker

from devices.worker import Link
from policies.api import Placement, draw
from policies.table import load
from router.fleet import Fleet


def chosen(policy_name: str, view: Fleet, requests: int) -> Counter[str]:
    """Names of the decode workers chosen, each placement booked before the next is asked for."""
    policy = load(policy_name)
    names: Counter[str] = Counter()
    for number in range(requests):
        asked = request(f"r{number}")
        placement = policy.place(asked, view, now=0.0)
        assert isinstance(placement, Placement)
        view.reserve(asked, placement, now=0.0)
        names[placement.decode.name] += 1
    return names


def three() -> Fleet:
    return fleet(*(worker(f"w-{i}", pool(f"pool-{i}")) for i in range(3)))


def test_round_robin_gives_each_worker_its_turn() -> None:
    assert chosen("round-robin", three(), 9) == {"w-0": 3, "w-1": 3, "w-2": 3}


def test_round_robin_leaves_no_prefill_worker_out() -> None:
    """Three decoders, one of which needs another's prefill, and three that prefill: both counts step together."""
    whole = [worker(f"g-{i}", pool("g")) for i in range(2)]
    prefillers = [worker(f"p-{i}", pool("p", phases=PREFILL)) for i in range(3)]
    view = fleet(*whole, worker("d-0", pool("d", phases=DECODE)), *prefillers, links={("p", "d"): Link(50e9)})
    policy, names = load("round-robin"), Counter[str]()
    for number in range(90):
        placement = policy.place(request(f"r{number}"), view, now=0.0)
        assert isinstance(placement, Placement)
        view.reserve(request(f"r{number}"), placement, now=0.0)
        names[placement.prefill.name] += 1
    assert names == {"g-0": 30, "g-1": 30, "p-0": 10, "p-1": 10, "p-2": 10}


def test_least_load_evens_out_what_is_in_flight() -> None:
    assert set(chosen("least-load", three(), 30).values()) == {10}


def test_random_leaves_no_worker_out_and_prefers_none() -> None:
    names = chosen("random", three(), 600)
    assert all(150 < count < 250 for count in names.values())


def test_power_of_two_is_far_more_even_than_random() -> None:
    def spread(policy_name: str) -> int:
        counts = chosen(policy_name, fleet(*(worker(f"w-{i}") for i in range(8))), 800).values()
        return max(counts) - min(counts)

    assert spread("power-of-two") <= 4 < spread("random")


def test_draws_differ_by_seed_request_attempt_and_number() -> None:
    draws = {
        draw(0, request("a"), 0, 2**60),
        draw(1, request("a"), 0, 2**60),
        draw(0, request("b"), 0, 2**60),
        draw(0, request("a", attempt=2), 0, 2**60),
        draw(0, request("a"), 1, 2**60),
    }
    assert len(draws) == 5

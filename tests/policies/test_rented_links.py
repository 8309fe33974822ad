"""A wire that others charge for is part of what a pair costs."""

import pytest
from builders import DECODE, PREFILL, fleet, pool, request, worker

from devices.worker import Link


def test_a_rented_wire_is_charged_by_the_byte() -> None:
    """2,684,354,560 B at 0.02 USD per GB are 5.4 cents."""
    p = worker("p-0", pool("p", phases=PREFILL, shape="llama-3.1-70b"))
    d = worker("d-0", pool("d", phases=DECODE, shape="llama-3.1-70b"))
    own, rented = (
        fleet(p, d, links={("p", "d"): Link(50e9, usd_per_byte=usd)}).quote(request(prompt_tokens=8192), p, d, now=0.0)
        for usd in (0.0, 0.02e-9)
    )
    assert rented.usd - own.usd == pytest.approx(0.0537, abs=5e-5)
    assert rented.ttft_s == own.ttft_s

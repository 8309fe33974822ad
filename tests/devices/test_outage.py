"""What is lost with one chip."""

from dataclasses import replace

import pytest

from devices.catalog import device
from devices.natures.outage import FailureUnit, outage


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("h200-sxm", FailureUnit.REPLICA),
        ("xeon-6980p", FailureUnit.REPLICA),
        ("groq-lpu-v1", FailureUnit.PIPELINE),
        ("trainium3-cs3", FailureUnit.PIPELINE),
        ("tpu-v6e", FailureUnit.SLICE),
    ],
)
def test_the_whole_worker_goes_with_any_of_its_chips(name: str, unit: FailureUnit) -> None:
    lost = outage(device(name), 8)
    assert (lost.unit, lost.chips) == (unit, 8)


def test_a_slice_on_optical_switches_returns_within_milliseconds() -> None:
    pod = replace(device("tpu-v5p"), reroute_s=0.01)
    assert outage(pod, 64).back_at_s(100.0) == 100.01


def test_a_replica_does_not_return_by_itself() -> None:
    assert outage(device("h200-sxm"), 8).back_at_s(100.0) is None

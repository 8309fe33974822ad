"""What is lost with one chip, and when it is back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from devices.profile import DeviceProfile, Nature


class FailureUnit(Enum):
    """What stops when one chip of a worker stops. It is always the whole worker, but for different reasons."""

    REPLICA = "replica"
    """Tensor-parallel peers wait for each other in every layer; the engine restarts on what is left."""
    PIPELINE = "pipeline"
    """Each chip holds layers nobody else has."""
    SLICE = "slice"
    """Chips are wired, allocated and compiled for as one piece."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The loss of one chip of a worker.

    Attributes:
        chips: lost together.
        returns_s: seconds until the same worker is back without repair, its programs still compiled; None if a person
            or another machine is needed. An optical circuit switch wires a spare block of chips in within milliseconds,
            so the router sees a short outage and not a lost worker. What the chips held, weights and KV, is gone.
    """

    unit: FailureUnit
    chips: int
    returns_s: float | None

    def back_at_s(self, failed_s: float) -> float | None:
        """Model time at which the hardware is whole again; None if not by itself."""
        return None if self.returns_s is None else failed_s + self.returns_s


def outage(device: DeviceProfile, chips: int) -> Outage:
    """What a worker of `chips` chips loses with any one of them."""
    return Outage(_UNITS[device.nature], chips, device.reroute_s)


_UNITS = {
    Nature.HBM: FailureUnit.REPLICA,
    Nature.CPU: FailureUnit.REPLICA,
    Nature.SRAM: FailureUnit.PIPELINE,
    Nature.COMPOSITE: FailureUnit.PIPELINE,
    Nature.PADDED: FailureUnit.SLICE,
}

"""The two ways a command ends badly without being broken."""

from __future__ import annotations


class Finding(Exception):
    """Exit 1: it ran and what it found is not good. The text says where, what, and what to do next."""


class Misuse(Exception):
    """Exit 2: it was asked for something that cannot be. The text says what would do."""


def mistakes() -> tuple[type[Exception], ...]:
    """What users get wrong; everything else is our bug and keeps its traceback. Imported late: most runs need none."""
    from devices.calibration.measured_files import MeasurementError
    from devices.catalog import UnknownId
    from devices.feasibility import Infeasible
    from loadgen.trace import TraceError
    from loadgen.workload import WorkloadError
    from policies.table import PolicyError
    from router.config import ConfigError

    return Misuse, UnknownId, Infeasible, MeasurementError, TraceError, WorkloadError, PolicyError, ConfigError

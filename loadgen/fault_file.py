"""What a fault file may say: a list of faults, each with a time, a target and one thing that goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from devices.profile import Precision
from router.complaints import validated
from router.located import Document, text
from router.schema import Amount, Count, Name, Part, Positive

TARGETS = ("worker", "pool", "vendor", "site", "link")
KINDS = ("down", "slow", "is_really", "misstated", "telemetry", "foreign", "price")
WHOLE_RUN = ("is_really", "misstated")
"""Faults that are there from the start and stay: a chip does not become another one under way."""

Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Lengths = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]
"""`P50` or `P50:SIGMA` in tokens, as on the command line."""


class LinkName(Part):
    """A link of the fleet file, by its ends."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    from_pool: Annotated[str, Field(alias="from")]
    to_pool: Annotated[str, Field(alias="to")]


Factor = Annotated[float, Field(ge=1e-3, le=1e4, strict=True, allow_inf_nan=False)]
"""Beyond that a simulation only waits: who never answers is `down`."""


class Slow(Part):
    """Everything takes `factor` times as long."""

    factor: Factor


class IsReally(Part):
    """The device, or the model, that stands behind a worker; its pool's own where left out.

    A whole worker is exchanged: `chips` is those of the pool unless given, and so is `precision`.
    """

    device: Name | None = None
    chips: Count | None = None
    model: Name | None = None
    precision: Precision | None = None


class MisstatedBy(Part):
    """See `devices.natures.altered.Misstated`."""

    scale: Factor = 1.0
    shape: Factor = 1.0


class TelemetryFault(Part):
    """Reports come `delay_s` late, and a share `loss` of them never."""

    delay_s: Amount = 0.0
    loss: Share = 0.0


class Foreign(Part):
    """Requests that others send to the worker itself; the scheduler hears of them only by its reports."""

    rate_per_s: Positive
    input: Lengths = "1024"
    output: Lengths = "128"
    arrivals: str = "poisson"


class NewPrice(Part):
    """A new price: `factor` times the old one, or in figures, a rent or the rates of an API."""

    factor: Factor | None = None
    usd_per_chip_hour: Amount | None = None
    usd_per_m_input: Amount | None = None
    usd_per_m_output: Amount | None = None


def _none_is_lost(telemetry: object) -> object:
    return {"loss": 1.0} if telemetry == "none" else telemetry


class Fault(Part):
    """One thing that goes wrong with one target, from `at` up to, not including, `until`; to the end without it.

    Exactly one of worker, pool, vendor, site, link, and exactly one of the rest. `telemetry: none` is a loss of 1.
    """

    at: Amount = 0.0
    until: Positive | None = None
    worker: str | None = None
    pool: str | None = None
    vendor: str | None = None
    site: str | None = None
    link: LinkName | None = None
    down: Literal[True] | None = None
    slow: Slow | None = None
    is_really: IsReally | None = None
    misstated: MisstatedBy | None = None
    telemetry: Annotated[TelemetryFault | None, BeforeValidator(_none_is_lost)] = None
    foreign: Foreign | None = None
    price: NewPrice | None = None

    def given(self, names: tuple[str, ...]) -> list[str]:
        """Those of the fields named that the file sets."""
        return [name for name in names if getattr(self, name) is not None]


class FaultFile(Part):
    """A whole fault file. `seed` is that of lost reports and of foreign load."""

    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    faults: Annotated[tuple[Fault, ...], Field(min_length=1)]


def read(path: Path) -> tuple[Document, FaultFile]:
    """Shapes and ranges are checked, not yet whether the targets exist; raises `ConfigError`."""
    document = Document(str(path), text(path))
    return document, validated(document, FaultFile, "faults: [...], a list of entries under that key", {})

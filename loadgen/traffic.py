"""What the rows of a workload ask for: model, class and promise. The same for simulation and for live load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devices.catalog import did_you_mean
from loadgen.row import BLOCK_TOKENS, Row
from loadgen.workload import Mix, WorkloadError, mix
from policies.api import Request, Slo
from router.openai import DEFAULT_CLASS, TrafficClass

if TYPE_CHECKING:
    from router.config import Config


_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows of one model, spread over classes by `mix`; without one, all of the class named `default`.

    `classes` are the configured ones, by name; the promise of a class not among them is empty. `tenants` are shares,
    drawn once per client of the trace, or per row where the trace names none; without them all is of `tenant`.
    """

    model: str
    classes: Mapping[str, TrafficClass] = field(default_factory=dict)
    mix: Mix | None = None
    tenant: str = ""
    tenants: Mix | None = None
    _drawn: Mapping[str, TrafficClass] = field(init=False, repr=False, compare=False)
    _only: TrafficClass | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = (DEFAULT_CLASS.name,) if self.mix is None else self.mix.names
        drawn = {name: self.classes.get(name) or TrafficClass(name) for name in names}
        object.__setattr__(self, "_drawn", drawn)
        object.__setattr__(self, "_only", drawn[names[0]] if len(names) == 1 else None)

    @classmethod
    def of(
        cls,
        config: Config,
        model: str | None = None,
        classes: str | None = None,
        seed: int = 0,
        tenants: str | None = None,
    ) -> Traffic:
        """As a fleet file says: its `trace` section, unless a model or a mix of classes is given here."""
        drawn = _mix(config, classes, seed)
        for name in () if drawn is None else drawn.names:
            if name not in config.classes:
                raise WorkloadError(f"class '{name}' is not in the fleet file; {did_you_mean(name, config.classes)}")
        promises = {
            name: TrafficClass(name, entry.slo, entry.usd_per_miss, entry.min_bits)
            for name, entry in config.classes.items()
        }
        shares = mix(tenants, seed, "tenants", "acme:0.7,other:0.3") if tenants else None
        return cls(_model(config, model or config.trace.model), promises, drawn, config.trace.tenant or "", shares)

    def traffic_class(self, row: Row) -> TrafficClass:
        """The class of a row."""
        if self._only is not None or self.mix is None:
            return self._only or DEFAULT_CLASS
        return self._drawn[self.mix.traffic_class(row.index)]

    def slo(self, row: Row) -> Slo:
        """What was promised to a row."""
        return self.traffic_class(row).slo

    def request(self, row: Row) -> Request:
        """The request a gateway would make of the row's prompt. The true output length is not in it.

        By position and without defaults: the simulator asks once per request, and names cost a tenth of its budget.
        """
        of = self._only or self.traffic_class(row)
        tokens, ids = row.input_tokens, row.hash_ids
        return Request(
            f"row-{row.index}",
            self.model,
            tokens,
            row.arrival_s,
            None,
            of.slo,
            of.name,
            self.tenant if self.tenants is None else self.tenants.tenant(row),
            row.client,
            of.usd_per_miss,
            of.min_bits,
            1,
            _NOBODY,
            ids and ids[: tokens // BLOCK_TOKENS],
        )


def _mix(config: Config, asked: str | None, seed: int) -> Mix | None:
    """The shares asked for, else those of the fleet file; None where neither names a class."""
    if asked is None and config.trace.classes:
        return Mix.of(config.trace.classes, seed)
    shares = asked or config.trace.traffic_class
    return mix(shares, seed) if shares else None


def _model(config: Config, asked: str | None) -> str:
    """The configured model of that name or alias; the first one where none is named."""
    if asked is None:
        return config.models[0].name
    model = config.resolve_model(asked)
    if model is None:
        raise WorkloadError(f"unknown model '{asked}'; {did_you_mean(asked, config.model_names)}")
    return model

"""Results as numpy columns, and what a report derives of them: who completed, who attained, seconds per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from loadgen.results import OUTCOMES, Results
from loadgen.spread import Floats
from policies.api import Slo
from router.ledger import Outcome

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

COLUMNS = ("completed", "rejected", "failed", "cancelled")
_COLUMN_CODES = np.array([COLUMNS.index(outcome.column) for outcome in OUTCOMES])
_CLIENT_CANCELLED = OUTCOMES.index(Outcome.CLIENT_CANCELLED)


@dataclass(frozen=True, slots=True)
class Columns:
    """Parallel arrays over requests; `Result` says the same of one.

    Attributes:
        column: index into `COLUMNS` of how it ended.
        slo, traffic_class, prefill, decode: numbers in the lists of the `Results` they come from.
        tpot_s: NaN where there is none, as in `ttft_s` and `e2e_s`.
        counts, attained: whether it counts towards attainment, and whether it kept its promise.
    """

    arrival_s: Floats
    ttft_s: Floats
    e2e_s: Floats
    tpot_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    prefix_hit_tokens: Ints
    column: Ints
    slo: Ints
    traffic_class: Ints
    prefill: Ints
    decode: Ints
    counts: Bools
    attained: Bools

    @classmethod
    def of(cls, results: Results) -> Columns:
        """Copies; `results` may grow on."""
        outcome, output_tokens = results.column("outcome"), results.column("output_tokens")
        ttft_s, e2e_s = results.column("ttft_s"), results.column("e2e_s")
        column = _COLUMN_CODES[outcome]
        completed = column == COLUMNS.index("completed")
        gaps = output_tokens - 1
        tpot_s = np.full(len(outcome), np.nan)
        np.divide(e2e_s - ttft_s, gaps, out=tpot_s, where=completed & (gaps > 0))
        slo, slos = results.column("slo"), results.slos
        return cls(
            arrival_s=results.column("arrival_s"),
            ttft_s=ttft_s,
            e2e_s=e2e_s,
            tpot_s=tpot_s,
            prompt_tokens=results.column("prompt_tokens"),
            output_tokens=output_tokens,
            prefix_hit_tokens=results.column("prefix_hit_tokens"),
            column=column,
            slo=slo,
            traffic_class=results.column("traffic_class"),
            prefill=results.column("prefill"),
            decode=results.column("decode"),
            counts=outcome != _CLIENT_CANCELLED,
            attained=completed
            & _within(ttft_s, _limits(slos, "ttft_s", slo))
            & ((output_tokens == 1) | _within(tpot_s, _limits(slos, "tpot_s", slo)))
            & _within(e2e_s, _limits(slos, "e2e_s", slo)),
        )

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def completed(self) -> Bools:
        """Whether the whole answer arrived."""
        return np.equal(self.column, COLUMNS.index("completed"))

    @property
    def rejected(self) -> Bools:
        """Whether it reached no worker."""
        return np.equal(self.column, COLUMNS.index("rejected"))

    def where(self, keep: Bools) -> Columns:
        """Only these requests."""
        return Columns(*(getattr(self, field.name)[keep] for field in fields(self)))


def _limits(slos: Sequence[Slo], name: str, slo: Ints) -> Floats:
    """What each request was promised; NaN where nothing was."""
    limits = [getattr(one, name) for one in slos]
    return np.array([np.nan if limit is None else limit for limit in limits], dtype=np.float64)[slo]


def _within(measured: Floats, limits: Floats) -> Bools:
    """A time that was promised and never came is not within."""
    return np.isnan(limits) | (measured <= limits)


def by_class(results: Results, columns: Columns) -> list[tuple[str, Columns]]:
    """Each traffic class and its requests, sorted; what has none is `default`."""
    names = [name or "default" for name in results.classes]
    seen = sorted({names[code] for code in np.unique(columns.traffic_class)})
    codes = np.array([seen.index(name) if name in seen else -1 for name in names], dtype=np.int64)
    group = codes[columns.traffic_class]
    return [(name, columns.where(group == number)) for number, name in enumerate(seen)]

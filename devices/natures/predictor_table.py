"""Decode steps of many workers at once: the numpy twin of the predictors, for fleets too large to ask one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices.natures.bounds import Bounds
from devices.natures.composite import CompositePredictor, LayerSplitPredictor
from devices.natures.cpu import CpuPredictor
from devices.natures.fitted import FittedPredictor
from devices.natures.hbm import HbmPredictor
from devices.natures.padded import PaddedPredictor, bucket
from devices.natures.remote import RemotePredictor
from devices.natures.sram import SramPredictor
from devices.natures.tier import Tier

Floats = NDArray[np.float64]

MOST_SEQUENCES = 4096
"""Batches are rounded up by a table of this length; no engine runs more sequences at once on a bucketed chip."""


class Decoder(Protocol):
    """What a table is made of."""

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """A decode step of any nature as one formula of B sequences and K tokens; B' is B rounded up to one of `batches`.

    fixed_s + max(dense_s + experts_s * (1 - exp(hit * B)), knee_s * B') + sequence_s * B' + kv_s * K
            + bounded_kv_s * min(K, bound * B) - tier_kv_s * min(K, tier_tokens) + crowding_s * max(B - crowd, 0)
    """

    fixed_s: float = 0.0
    dense_s: float = 0.0
    experts_s: float = 0.0
    hit: float = 0.0
    knee_s: float = 0.0
    sequence_s: float = 0.0
    kv_s: float = 0.0
    bounded_kv_s: float = 0.0
    bound: float = 0.0
    tier_kv_s: float = 0.0
    tier_tokens: float = 0.0
    crowding_s: float = 0.0
    crowd: float = 0.0
    batches: tuple[int, ...] = ()


class PredictorTable:
    """One row for each worker. What no row needs is not computed; predictors without terms are asked singly."""

    def __init__(self, predictors: Sequence[Decoder]) -> None:
        found = [terms(predictor) for predictor in predictors]
        self._others = [(row, predictors[row]) for row, known in enumerate(found) if known is None]
        rows = [known or Terms() for known in found]
        names = [column.name for column in fields(Terms) if column.name != "batches"]
        self._columns = {name: np.array([getattr(row, name) for row in rows], np.float64) for name in names}
        self._has = {name: bool(column.any()) for name, column in self._columns.items()}
        kinds = sorted({row.batches for row in rows})
        self._buckets = _lookup(kinds) if any(kinds) else None
        self._offsets = np.array([kinds.index(row.batches) for row in rows]) * (MOST_SEQUENCES + 1)

    def decode_step_s(self, sequences: NDArray[np.int64], kv_tokens: Floats) -> Floats:
        """Seconds of one decode iteration of each row; `sequences` at most `MOST_SEQUENCES` where a row has buckets."""
        column, has = self._columns, self._has
        padded = self._padded(sequences)
        read_s = column["dense_s"]
        if has["experts_s"]:
            read_s = read_s + column["experts_s"] * (1.0 - np.exp(column["hit"] * sequences))
        seconds = np.maximum(read_s, column["knee_s"] * padded)
        seconds += column["fixed_s"]
        seconds += column["sequence_s"] * padded
        seconds += column["kv_s"] * kv_tokens
        if has["bounded_kv_s"]:
            seconds += column["bounded_kv_s"] * np.minimum(kv_tokens, column["bound"] * sequences)
        if has["tier_kv_s"]:
            seconds -= column["tier_kv_s"] * np.minimum(kv_tokens, column["tier_tokens"])
        if has["crowding_s"]:
            seconds += column["crowding_s"] * np.maximum(sequences - column["crowd"], 0.0)
        for row, predictor in self._others:
            seconds[row] = predictor.decode_step_s(int(sequences[row]), float(kv_tokens[row]))
        return seconds

    def _padded(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._buckets is None:
            return sequences
        if sequences.max() > MOST_SEQUENCES:
            raise ValueError(f"{sequences.max()} sequences on one worker; at most {MOST_SEQUENCES} are bucketed")
        return self._buckets.take(self._offsets + sequences)


def terms(predictor: Decoder) -> Terms | None:
    """The formula of a predictor, None for a kind that is not known here."""
    match predictor:
        case HbmPredictor() | CpuPredictor():
            return _streaming(predictor)
        case FittedPredictor() as fitted:
            return _summed(fitted)
        case PaddedPredictor() as padded:
            plain = Terms(
                fixed_s=padded.fixed_s,
                dense_s=padded.weights_s,
                knee_s=padded.token_s,
                sequence_s=padded.sequence_s,
                kv_s=padded.kv_s,
                batches=padded.batches,
            )
            return _tiered(_bounded(plain, padded.bounds), padded.tier)
        case SramPredictor() as sram:
            knee_s = sram.pass_s / sram.depth
            return _bounded(Terms(dense_s=sram.pass_s, knee_s=knee_s, kv_s=sram.kv_s), sram.bounds)
        case RemotePredictor() as api:
            slope = api.slope_per_sequence
            return Terms(dense_s=api.tpot_s, crowding_s=api.tpot_s * slope, crowd=float(api.concurrency))
        case CompositePredictor():
            return terms(predictor.decode)
        case LayerSplitPredictor():
            return _layer_split(predictor)
        case _:
            return None


def _streaming(under: HbmPredictor | CpuPredictor) -> Terms:
    """A processor adds the arithmetic to the reading, a GPU hides the smaller of the two behind the other."""
    overlaps = isinstance(under, HbmPredictor)
    all_hit = under.missed <= 0.0
    plain = Terms(
        fixed_s=under.fixed_s,
        dense_s=under.dense_s + (under.experts_s if all_hit else 0.0),
        experts_s=0.0 if all_hit else under.experts_s,
        hit=0.0 if all_hit else log(under.missed),
        knee_s=under.token_s if overlaps else 0.0,
        sequence_s=under.sequence_s + (0.0 if overlaps else under.token_s),
        kv_s=under.kv_s,
    )
    return _tiered(_bounded(plain, under.bounds), under.tier if isinstance(under, HbmPredictor) else None)


def _summed(under: FittedPredictor) -> Terms:
    """A fit adds all it knows of."""
    all_hit = under.missed <= 0.0
    return Terms(
        fixed_s=under.fixed_s,
        dense_s=under.experts_s if all_hit else 0.0,
        experts_s=0.0 if all_hit else under.experts_s,
        hit=0.0 if all_hit else log(under.missed),
        sequence_s=under.decode_s,
        kv_s=under.kv_s,
        bounded_kv_s=under.bounded_s,
        bound=float(under.bound_tokens),
    )


def _layer_split(under: LayerSplitPredictor) -> Terms | None:
    """The weights' part is asked without cache, so all terms of the cache are those of the other part."""
    ffn = terms(under.ffn)
    if ffn is None or ffn.batches:
        return None
    crossing = replace(
        ffn,
        fixed_s=ffn.fixed_s + under.crossing_s,
        sequence_s=ffn.sequence_s + under.crossing_sequence_s,
        kv_s=under.kv_s,
        bounded_kv_s=0.0,
        tier_kv_s=0.0,
    )
    return _bounded(crossing, under.bounds)


def _bounded(plain: Terms, bounds: Bounds | None) -> Terms:
    return plain if bounds is None else replace(plain, bounded_kv_s=bounds.kv_s, bound=float(bounds.tokens))


def _tiered(plain: Terms, tier: Tier | None) -> Terms:
    return plain if tier is None else replace(plain, tier_kv_s=tier.kv_s, tier_tokens=tier.kv_tokens)


def _lookup(kinds: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """Every batch size rounded up, for each set of buckets; no buckets leave it as it is."""
    sizes = range(MOST_SEQUENCES + 1)
    return np.array([bucket(size, kind) if kind else size for kind in kinds for size in sizes])

"""The results of a run, one fixed-size record each: a million take 56 MB, and appending one builds no object."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from math import isnan, nan
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from loadgen.result import Result
from policies.api import Slo
from router.ledger import Outcome

OUTCOMES = tuple(Outcome)
_OUTCOME_CODES = {id(outcome): code for code, outcome in enumerate(OUTCOMES)}

_FIELDS = (
    ("arrival_s", "d"),
    ("ttft_s", "d"),
    ("e2e_s", "d"),
    ("prompt_tokens", "i"),
    ("output_tokens", "i"),
    ("prefix_hit_tokens", "i"),
    ("slo", "I"),
    ("prefill", "I"),
    ("decode", "I"),
    ("message", "I"),
    ("traffic_class", "H"),
    ("outcome", "H"),
)
_RECORD = struct.Struct("<" + "".join(code for _, code in _FIELDS))
_DTYPE = np.dtype([(name, f"<{np.dtype(code).str[1:]}") for name, code in _FIELDS])


class _Codes(dict[str, int]):
    """Texts numbered as they come."""

    def __missing__(self, text: str) -> int:
        self[text] = code = len(self)
        return code


class Results(Sequence[Result]):
    """Appended to as requests end, read back one by one as `Result`, or by whole columns for a report."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._classes, self._workers, self._messages = _Codes(), _Codes(), _Codes()
        self._slos: list[Slo] = []
        self._slo_codes: dict[int, int] = {}  # by identity: hashing an Slo takes longer than all the rest

    @classmethod
    def of(cls, results: Iterable[Result]) -> Results:
        """The same results in columns; itself if it is that already."""
        if isinstance(results, Results):
            return results
        made = cls()
        for result in results:
            made.add(result)
        return made

    def append(
        self,
        arrival_s: float,
        outcome: Outcome,
        traffic_class: str,
        slo: Slo,
        ttft_s: float | None,
        e2e_s: float | None,
        prompt_tokens: int,
        output_tokens: int,
        prefix_hit_tokens: int,
        prefill: str,
        decode: str,
        message: str,
        *,
        pack: Any = _RECORD.pack,
    ) -> None:
        """The fields of a `Result`, in its order. Fast where `slo` is one of few objects."""
        try:
            slo_code = self._slo_codes[id(slo)]
        except KeyError:
            slo_code = self._slo_codes[id(slo)] = len(self._slos)
            self._slos.append(slo)
        self._records += pack(
            arrival_s,
            nan if ttft_s is None else ttft_s,
            nan if e2e_s is None else e2e_s,
            prompt_tokens,
            output_tokens,
            prefix_hit_tokens,
            slo_code,
            self._workers[prefill],
            self._workers[decode],
            self._messages[message],
            self._classes[traffic_class],
            _OUTCOME_CODES[id(outcome)],
        )

    def add(self, result: Result) -> None:
        """As `append`, of one that exists as an object."""
        self.append(
            result.arrival_s,
            result.outcome,
            result.traffic_class,
            result.slo,
            result.ttft_s,
            result.e2e_s,
            result.prompt_tokens,
            result.output_tokens,
            result.prefix_hit_tokens,
            result.prefill,
            result.decode,
            result.message,
        )

    @property
    def classes(self) -> list[str]:
        """Names by their number in column `traffic_class`."""
        return list(self._classes)

    @property
    def workers(self) -> list[str]:
        """Names by their number in columns `prefill` and `decode`."""
        return list(self._workers)

    @property
    def slos(self) -> list[Slo]:
        """Promises by their number in column `slo`."""
        return list(self._slos)

    def column(self, name: str) -> NDArray[Any]:
        """A copy, so that appending may go on; NaN where a time is None, numbers of names where it holds names."""
        return np.frombuffer(self._records, _DTYPE)[name].copy()

    def __len__(self) -> int:
        return len(self._records) // _RECORD.size

    def __iter__(self) -> Iterator[Result]:
        names = (list(self._workers), list(self._messages), list(self._classes))
        return (self._result(record, *names) for record in _RECORD.iter_unpack(bytes(self._records)))

    @overload
    def __getitem__(self, at: int) -> Result: ...
    @overload
    def __getitem__(self, at: slice) -> list[Result]: ...
    def __getitem__(self, at: int | slice) -> Result | list[Result]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place = range(len(self))[at] * _RECORD.size
        record = _RECORD.unpack_from(self._records, place)
        return self._result(record, list(self._workers), list(self._messages), list(self._classes))

    def _result(self, record: tuple[Any, ...], workers: list[str], messages: list[str], classes: list[str]) -> Result:
        arrival_s, ttft_s, e2e_s, prompt, output, hits, slo, prefill, decode, message, traffic_class, outcome = record
        return Result(
            arrival_s=arrival_s,
            outcome=OUTCOMES[outcome],
            traffic_class=classes[traffic_class],
            slo=self._slos[slo],
            ttft_s=None if isnan(ttft_s) else ttft_s,
            e2e_s=None if isnan(e2e_s) else e2e_s,
            prompt_tokens=prompt,
            output_tokens=output,
            prefix_hit_tokens=hits,
            prefill=workers[prefill],
            decode=workers[decode],
            message=messages[message],
        )

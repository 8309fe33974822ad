"""Every claim the project started from that can be checked is reproduced, refuted or honoured by computation."""

import csv
from pathlib import Path

import pytest
from seed_checks import catalogue, economics, engine, fabric, policy, profile, scale
from seed_checks.key import Checks, Key

CLAIMS = Path(__file__).parents[1] / "seeds" / "claims.csv"
AREAS: dict[str, Checks] = {
    "catalogue": catalogue.CHECKS,
    "profile": profile.CHECKS,
    "economics": economics.CHECKS,
    "fabric": fabric.CHECKS,
    "policy": policy.CHECKS,
    "engine": engine.CHECKS,
    "scale": scale.CHECKS,
}
LATER: dict[Key, str] = {
    ("001", "OpenAI on AWS", "arrangement"): "issue 4 of 7: tenants' vendors are hard masks",
    ("001", "Chinese compute opportunity", "where"): "issue 4 of 7: tenants' regions are hard masks",
    ("003", "ByteDance recommendation clusters", "non-NVIDIA share 2025"): "issue 4 of 7: max_vendor_share",
    ("002", "Modular MAX", "role"): "issue 5 of 7: engines of other stacks as named variants",
    ("003", "Chinese stacks", "fragmentation"): "issue 5 of 7: engines of other stacks as named variants",
}
"""Rows that later work makes true. Their checks fail today, and must: a check that passes has to leave this table."""


def rows() -> list[dict[str, str]]:
    with CLAIMS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def key(row: dict[str, str]) -> Key:
    return row["seed_file"][:3], row["subject"], row["quantity"]


CHECKABLE = [row for row in rows() if row["checkable"] == "yes"]


def claims() -> list[object]:
    return [
        pytest.param(
            row,
            id=" ".join(key(row)).replace("/", " per "),
            marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=LATER[key(row)])]
            if key(row) in LATER
            else [],
        )
        for row in CHECKABLE
    ]


@pytest.mark.parametrize("row", claims())
def test_what_is_claimed_comes_out(row: dict[str, str]) -> None:
    AREAS[row["area"]][key(row)]()


def test_every_checkable_claim_has_one_check_and_every_check_a_claim() -> None:
    asked = [(row["area"], key(row)) for row in CHECKABLE]
    assert len(set(asked)) == len(asked) == 78
    assert {(area, known) for area, checks in AREAS.items() for known in checks} == set(asked)
    assert LATER.keys() <= {known for _, known in asked}


def test_claims_are_whole() -> None:
    every = rows()
    assert len(every) == 211
    for row in every:
        assert row["checkable"] in ("yes", "no"), row
        assert bool(row["area"]) == bool(row["expected"]) == (row["checkable"] == "yes"), row

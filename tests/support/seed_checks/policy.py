"""Who may serve what, and who serves it cheapest."""

from dataclasses import replace

import pytest

from devices.catalog import device, model
from devices.feasibility import Infeasible, limits
from devices.profile import Precision
from policies.api import Slo
from seed_checks.fleets import MODEL, config, placed, prefills, served
from seed_checks.key import Checks

H200 = f"name: h200, device: h200-sxm, tp: 4, {MODEL}, simulate: 1, site: west"
MI355X = f"name: mi355x, device: mi355x, tp: 4, {MODEL}, simulate: 1, site: east"


def a_tenant_is_bound_to_its_vendors() -> None:
    rest = "tenants: [{name: acme, vendors_denied: [nvidia]}]\ntrace: {tenant: acme}\npolicy: {name: round-robin}"
    done = served(config(H200, MI355X, rest=rest))
    assert done["completed"] > 20
    assert prefills(done, ["h200"]) == 0


def a_model_stays_off_vendors_it_was_not_released_for() -> None:
    withheld = replace(model("llama-3.1-70b"), vendors_unavailable={"nvidia": "early access for another vendor"})
    limits(device("mi355x"), withheld, 4, Precision.FP8, Precision.FP16)
    with pytest.raises(Infeasible, match="early access for another vendor"):
        limits(device("h200-sxm"), withheld, 4, Precision.FP8, Precision.FP16)


def a_tenant_stays_in_its_regions() -> None:
    rest = "tenants: [{name: acme, regions: [east]}]\ntrace: {tenant: acme}\npolicy: {name: round-robin}"
    done = served(config(H200, MI355X, rest=rest))
    assert done["completed"] > 20
    assert prefills(done, ["h200"]) == 0


def no_vendor_gets_more_than_its_share() -> None:
    done = served(config(H200, MI355X, rest="policy: {name: cost-slo, max_vendor_share: {nvidia: 0.5, amd: 0.5}}"))
    assert done["completed"] > 20
    assert done["vendor_share"]["nvidia"] <= 0.55
    assert done["vendor_share"]["amd"] <= 0.55


def domestic_cards_serve_where_they_are_the_cheapest_that_keeps_the_promise() -> None:
    """At a sixth of an H200's rent; the promise they cannot keep goes to the H200."""
    rent = "billing: {kind: on_demand, usd_per_chip_hour: 0.5}"
    domestic = f"name: domestic, device: mtt-s5000, tp: 8, {MODEL}, simulate: 1, {rent}"
    imported = f"{H200}, billing: {{kind: on_demand, usd_per_chip_hour: 3.0}}"
    fleet = config(domestic, imported)
    assert placed(fleet, Slo(tpot_s=0.2)) == "domestic"
    assert placed(fleet, Slo(tpot_s=0.014)) == "h200"


def loose_promises_go_to_the_cheapest_that_fits() -> None:
    """The LPU is fast and dear: only the promise that nothing else keeps is worth it."""
    rent = "billing: {kind: on_demand, usd_per_chip_hour: 0.1}"
    lpu = f"name: lpu, device: groq-lpu-v1, chips: 576, model: llama-3.1-70b, precision: int8, simulate: 1, {rent}"
    cheap = f"{H200}, billing: {{kind: on_demand, usd_per_chip_hour: 1.0}}"
    fleet = config(lpu, cheap)
    assert placed(fleet, Slo()) == "h200"
    assert placed(fleet, Slo(ttft_s=5.0, tpot_s=0.1)) == "h200"
    assert placed(fleet, Slo(tpot_s=0.006)) == "lpu"


CHECKS: Checks = {
    ("001", "OpenAI on AWS", "arrangement"): a_tenant_is_bound_to_its_vendors,
    ("001", "DeepSeek V4", "early access"): a_model_stays_off_vendors_it_was_not_released_for,
    ("001", "Chinese compute opportunity", "where"): a_tenant_stays_in_its_regions,
    ("003", "ByteDance recommendation clusters", "non-NVIDIA share 2025"): no_vendor_gets_more_than_its_share,
    (
        "004",
        "domestic cards",
        "role",
    ): domestic_cards_serve_where_they_are_the_cheapest_that_keeps_the_promise,
    ("004", "workload strategy", "practice"): loose_promises_go_to_the_cheapest_that_fits,
}

"""`tokenyard devices cost` as planners meet it, in process."""

import json

import pytest

from loadgen.cli import main

ASK = ("devices", "cost", "--model", "llama-3.1-70b")
THREE = ("--device", "h200-sxm", "--device", "mi355x", "--device", "metax-c700")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[dict[str, float]]]:
    code, out, _ = run(capsys, *ASK, *arguments, "--json")
    assert code == 0
    found: dict[str, list[dict[str, float]]] = json.loads(out)
    return found


def test_offers_come_cheapest_first_and_the_others_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--class", "ttft_s=2,tpot_s=0.2", *THREE)
    assert [offer["device"] for offer in found["offers"]] == ["mi355x", "h200-sxm"]
    spent = [offer["usd_per_request"] for offer in found["offers"]]
    assert spent == sorted(spent)
    assert [none["device"] for none in found["without"]] == ["metax-c700"]


def test_the_table_says_what_limits_each(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *ASK, "--class", "ttft_s=2,tpot_s=0.02", *THREE)
    assert code == 0
    assert "limited by" in out
    assert "tpot" in out
    assert "USD/M input" in out
    assert "metax-c700" in out


def test_every_promise_is_kept_by_what_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    for offer in answer(capsys, "--class", "ttft_s=0.5,tpot_s=0.03")["offers"]:
        assert offer["ttft_s"] <= 0.5
        assert offer["tpot_s"] <= 0.03


def test_dearer_rent_makes_dearer_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "tpot_s=0.1", "--device", "h200-sxm", "--rent")
    by_kind = {kind: answer(capsys, *asked, kind)["offers"][0] for kind in ("rental", "tco", "on-demand")}
    assert by_kind["rental"]["usd_per_m_output"] < by_kind["tco"]["usd_per_m_output"]
    assert by_kind["tco"]["usd_per_m_output"] < by_kind["on-demand"]["usd_per_m_output"]


def test_half_the_utilisation_doubles_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "tpot_s=0.1", "--device", "h200-sxm")
    full, half = (answer(capsys, *asked, "--utilisation", share)["offers"][0] for share in ("1", "0.5"))
    assert half["usd_per_request"] == pytest.approx(2 * full["usd_per_request"])


def test_cached_prompts_are_cheaper(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "tpot_s=0.1", "--device", "h200-sxm", "--input", "4000", "--output", "100")
    none, most = (answer(capsys, *asked, "--cached", share)["offers"][0] for share in ("0", "0.9"))
    assert most["usd_per_request"] < none["usd_per_request"] / 2


def test_layers_of_margin_are_priced_one_on_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "tpot_s=0.1", "--device", "h200-sxm", "--rent", "tco")
    [offer] = answer(capsys, *asked, "--margins", "resale=0.35,iaas=0.35")["offers"]
    layers: list[dict[str, object]] = offer["layers"]  # type: ignore[assignment]
    assert [layer["layer"] for layer in layers] == ["iaas", "resale"]
    assert layers[1]["usd_per_chip_hour"] == pytest.approx(1.74 / 0.65 / 0.65)
    _, out, _ = run(capsys, *ASK, *asked, "--margins", "iaas=0.35")
    assert "iaas" in out


def test_a_sell_price_shows_what_a_request_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "tpot_s=0.1", "--device", "h200-sxm", "--sell", "input=0.13,output=0.4")
    [offer] = answer(capsys, *asked)["offers"]
    charge = (1000 * 0.13 + 500 * 0.4) / 1e6
    assert offer["profit_usd_per_request"] == pytest.approx(charge - offer["usd_per_request"])
    _, out, _ = run(capsys, *ASK, *asked)
    assert "profit USD/request" in out


def test_joules_are_told_by_kind_of_token(capsys: pytest.CaptureFixture[str]) -> None:
    [known] = answer(capsys, "--class", "tpot_s=0.1", "--device", "h200-sxm")["offers"]
    joules: dict[str, float] = known["joules"]  # type: ignore[assignment]
    assert joules["output"] > joules["input"] > joules["cached_input"] > 0


def test_predictions_alone_are_marked_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "ttft_s=2,tpot_s=0.2", "--device", "mi355x")
    assert answer(capsys, *asked)["offers"][0]["basis"] == "measured"
    assert answer(capsys, *asked, "--predicted")["offers"][0]["basis"] == "predicted"


def test_a_worker_that_spreads_its_experts_is_told_as_wide(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--model", "deepseek-v3", "--class", "tpot_s=0.015", "--device", "gb200-nvl72", "--predicted")
    [offer] = answer(capsys, *asked)["offers"]
    assert offer["wide"]
    _, out, _ = run(capsys, *ASK, *asked)
    assert f"{offer['chips']} wide" in out


def test_projected_devices_are_ranked_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--class", "tpot_s=0.2", "--device", "maia-200")
    assert answer(capsys, *asked)["offers"] == []
    assert answer(capsys, *asked, "--projected")["offers"][0]["basis"] == "projected"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--class", "soon"), "--class 'soon': give ttft_s="),
        (("--class", "tpot_s=0.1,soon"), "--class 'tpot_s=0.1,soon': give ttft_s="),
        (("--class", "tpot=0.1"), "--class 'tpot=0.1': give ttft_s="),
        (("--class", "tpot_s=0"), "--class 'tpot_s=0': give ttft_s="),
        (("--class", "tpot_s=fast"), "--class: 'tpot_s=fast' is not name=number"),
        (("--class", "tpot_s=nan"), "--class 'tpot_s=nan': give ttft_s="),
        (("--class", "tpot_s=0.1,min_precision=fp5"), "--class: unknown precision 'fp5'"),
        (("--class", "tpot_s=0.1", "--rent", "free"), "--rent free: known are rental, tco, on-demand"),
        (("--class", "tpot_s=0.1", "--margins", "saas=0.1"), "--margins: unknown layer 'saas'"),
        (("--class", "tpot_s=0.1", "--margins", "iaas=1.5"), "--margins: margin of iaas: 1.5"),
        (("--class", "tpot_s=0.1", "--sell", "input=1"), "--sell 'input=1': give input="),
        (("--class", "tpot_s=0.1", "--device", "h2000"), "unknown device 'h2000'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    code, out, err = run(capsys, *ASK, *arguments)
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert complaint in line

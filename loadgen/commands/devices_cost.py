"""`tokenyard devices cost`: which device is cheapest at a promise, and what keeps each from being cheaper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from devices.economics.cheapest import Offer
    from devices.economics.margins import Markup
    from devices.economics.operating_point import Promise, Workload
    from devices.economics.ranking import Ranking
    from devices.economics.rents import RentKind
    from devices.prices.api_price import Rates

EXAMPLES = """Examples:

tokenyard devices cost --model llama-3.1-70b --class ttft_s=2,tpot_s=0.2

tokenyard devices cost --model gpt-oss-120b --class ttft_s=2,tpot_s=0.015 --input 1000 --output 1300

tokenyard devices cost --model llama-3.1-70b --class tpot_s=0.05 --rent tco --margins iaas=0.35,resale=0.35 --json
"""


def cost(
    model: Annotated[str, typer.Option("--model", help="As in the catalogue.", show_default=False)],
    promise: Annotated[
        str, typer.Option("--class", help="The promise: ttft_s=…,tpot_s=…[,min_precision=…].", show_default=False)
    ],
    rent: Annotated[
        str, typer.Option("--rent", help="Price of a chip: rental (years), tco (its owner's cost) or on-demand.")
    ] = "rental",
    input_tokens: Annotated[int, typer.Option("--input", min=1, help="Mean prompt tokens.")] = 1000,
    output_tokens: Annotated[int, typer.Option("--output", min=2, help="Mean answer tokens.")] = 500,
    cached: Annotated[float, typer.Option("--cached", min=0, max=0.999, help="Share of prompts found in cache.")] = 0.0,
    utilisation: Annotated[
        float, typer.Option("--utilisation", min=0.01, max=1, help="Share of paid time that is used.")
    ] = 1.0,
    margins: Annotated[
        str | None, typer.Option("--margins", help="Layers above the rent: iaas=0.35,resale=0.35,paas=…,model=….")
    ] = None,
    sell: Annotated[
        str | None, typer.Option("--sell", help="A tenant's price: input=…,output=…[,cached_input=…], USD/M tokens.")
    ] = None,
    projected: Annotated[
        bool, typer.Option("--projected", help="Rank devices without public measurements too.")
    ] = False,
    predicted: Annotated[
        bool, typer.Option("--predicted", help="Do not scale predictions to benchmarks of the device and model.")
    ] = False,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Only these devices; repeat for several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """USD per million tokens of every device that can keep a promise, the cheapest first.

    Each device in its cheapest configuration (chips of one worker, precision), as full as the promise allows.
    """
    from devices import catalog
    from devices.economics.operating_point import Workload
    from devices.economics.ranking import ranking

    shape = catalog.model(model)
    kept, min_bits = _promise(promise)
    workload = Workload(input_tokens, output_tokens, int(input_tokens * cached))
    found = ranking(
        [catalog.device(name) for name in device or catalog.device_ids()],
        shape,
        workload,
        kept,
        _rent_kind(rent),
        min_bits,
        utilisation,
        measured=not predicted,
        projected=projected,
    )
    _answer(found, workload, _markups(margins), _rates(sell), as_json)


def _rent_kind(name: str) -> RentKind:
    from devices.economics.rents import RentKind
    from loadgen.finding import Misuse

    known = [kind.value for kind in RentKind]
    if name not in known:
        raise Misuse(f"--rent {name}: known are {', '.join(known)}")
    return RentKind(name)


def _markups(text: str | None) -> tuple[Markup, ...]:
    from devices.economics.margins import markups
    from loadgen.finding import Misuse

    try:
        return markups(_numbers("--margins", text)) if text else ()
    except ValueError as error:
        raise Misuse(f"--margins: {error}") from None


def _rates(text: str | None) -> Rates | None:
    """What a tenant pays; raises `Misuse`."""
    from devices.prices.api_price import Rates
    from loadgen.finding import Misuse

    if text is None:
        return None
    paid = _numbers("--sell", text)
    if not {"input", "output"} <= set(paid) <= {"input", "output", "cached_input"} or not all(
        value >= 0 for value in paid.values()
    ):
        raise Misuse(f"--sell '{text}': give input=…,output=…[,cached_input=…] in USD per million tokens")
    return Rates(paid["input"], paid["output"], paid.get("cached_input"))


def _numbers(option: str, text: str) -> dict[str, float]:
    """`name=0.5,…` as a mapping."""
    from loadgen.finding import Misuse

    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise Misuse(f"{option}: '{part}' is not name=number") from None
    return found


def _promise(text: str) -> tuple[Promise, int]:
    """The promise and the least width of weights a class accepts; raises `Misuse`."""
    from devices.catalog import did_you_mean
    from devices.economics.operating_point import Promise
    from devices.profile import Precision
    from loadgen.finding import Misuse

    parts = dict(part.partition("=")[::2] for part in text.split(","))
    precision = parts.pop("min_precision", "fp4")
    if precision not in {known.value for known in Precision}:
        raise Misuse(
            f"--class: unknown precision '{precision}'; {did_you_mean(precision, (p.value for p in Precision))}"
        )
    known = parts and set(parts) <= {"ttft_s", "tpot_s"}
    limits = _numbers("--class", ",".join(map("=".join, parts.items()))) if known else {}
    if not known or not all(value > 0 for value in limits.values()):
        raise Misuse(f"--class '{text}': give ttft_s=… and tpot_s=… in seconds, one of them or both, above 0")
    return Promise(limits.get("ttft_s"), limits.get("tpot_s")), Precision(precision).bits


def _answer(found: Ranking, workload: Workload, layers: tuple[Markup, ...], sell: Rates | None, as_json: bool) -> None:
    from loadgen.commands import say

    if as_json:
        say.answer_json(
            {
                "offers": [_plain(offer, workload, layers, sell) for offer in found.offers],
                "without": [{"device": none.device.id, "why": none.why} for none in found.without],
            }
        )
        return
    say.table(COLUMNS, [_row(offer, workload) for offer in found.offers])
    if sell:
        say.table(PROFIT_COLUMNS, [_profit_row(offer, workload, sell) for offer in found.offers])
    if layers:
        say.table(LAYER_COLUMNS, [row for offer in found.offers[:LAYERS_OF] for row in _layer_rows(offer, layers)])
    say.table(("no offer", "why"), [(none.device.id, none.why) for none in found.without])


LAYERS_OF = 5
"""Devices whose layers are printed; JSON has them all."""
COLUMNS = (
    *("device", "chips", "format", "batch", "limited by", "ttft s", "tpot ms", "tok/s/chip", "USD/chip-h", "rent"),
    *("USD/M input", "cached", "output", "all in output", "J/output", "basis"),
)
PROFIT_COLUMNS = ("device", "cost USD/request", "profit USD/request", "profit USD/chip-h")
LAYER_COLUMNS = ("device", "layer", "USD/chip-h", "USD/M input", "cached", "output")


def _row(offer: Offer, workload: Workload) -> tuple[object, ...]:
    point, cost = offer.point, offer.cost
    energy = _joules(offer)
    return (
        offer.device.id,
        f"{offer.configuration.chips} wide" if offer.configuration.wide else offer.configuration.chips,
        offer.configuration.precision.value,
        point.batch,
        point.bound.value,
        point.ttft_s,
        point.tpot_s * 1000,
        offer.requests_per_chip_s * workload.output_tokens,
        offer.rent.usd_per_chip_hour,
        offer.rent.basis,
        cost.usd_per_m_input,
        cost.usd_per_m_cached_input,
        cost.usd_per_m_output,
        cost.usd_per_m_written(workload),
        energy["output"] if energy else None,
        offer.basis.value,
    )


def _profit_row(offer: Offer, workload: Workload, sell: Rates) -> tuple[object, ...]:
    from devices.economics.token_cost import profit_usd

    spent = offer.cost.request_usd(workload)
    left = profit_usd(spent, sell, workload)
    return offer.device.id, spent, left, left * offer.requests_per_chip_s * 3600


def _layer_rows(offer: Offer, layers: tuple[Markup, ...]) -> list[tuple[object, ...]]:
    from devices.economics.token_cost import layer_prices

    return [
        (
            *(offer.device.id, sale.layer.value, sale.price_usd),
            *(cost.usd_per_m_input, cost.usd_per_m_cached_input, cost.usd_per_m_output),
        )
        for sale, cost in layer_prices(offer.cost, offer.rent.usd_per_chip_hour, layers)
    ]


def _joules(offer: Offer) -> dict[str, float] | None:
    """Per token by phase; None where the chip's power is not known."""
    from devices.economics.cost_figures import allin_kw, site
    from devices.economics.token_cost import token_energy

    power_kw = allin_kw(offer.device)
    if power_kw is None:
        return None
    energy = token_energy(offer.point, offer.configuration.chips, power_kw, site().pue)
    return {
        "input": energy.joules_per_input,
        "cached_input": energy.joules_per_cached_input,
        "output": energy.joules_per_output,
    }


def _plain(offer: Offer, workload: Workload, layers: tuple[Markup, ...], sell: Rates | None) -> dict[str, object]:
    point, cost = offer.point, offer.cost
    return {
        "device": offer.device.id,
        "vendor": offer.device.vendor,
        "chips": offer.configuration.chips,
        "wide": offer.configuration.wide,
        "precision": offer.configuration.precision.value,
        "basis": offer.basis.value,
        "factor": offer.factor,
        "uncertainty": offer.device.uncertainty,
        "batch": point.batch,
        "limited_by": point.bound.value,
        "ttft_s": point.ttft_s,
        "tpot_s": point.tpot_s,
        "requests_per_chip_s": offer.requests_per_chip_s,
        "output_tokens_per_chip_s": offer.requests_per_chip_s * workload.output_tokens,
        "usd_per_chip_hour": offer.rent.usd_per_chip_hour,
        "rent": offer.rent.basis,
        "usd_per_m_input": cost.usd_per_m_input,
        "usd_per_m_cached_input": cost.usd_per_m_cached_input,
        "usd_per_m_output": cost.usd_per_m_output,
        "usd_per_m_written": cost.usd_per_m_written(workload),
        "usd_per_m_all": cost.usd_per_m_all(workload),
        "usd_per_request": cost.request_usd(workload),
        "profit_usd_per_request": _profit_row(offer, workload, sell)[2] if sell else None,
        "joules": _joules(offer),
        "layers": [dict(zip(("layer", *_LAYER_KEYS), row[1:], strict=True)) for row in _layer_rows(offer, layers)],
    }


_LAYER_KEYS = ("usd_per_chip_hour", "usd_per_m_input", "usd_per_m_cached_input", "usd_per_m_output")

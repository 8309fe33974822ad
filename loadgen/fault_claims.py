"""What stands behind a worker that is not what it claims, and what a price becomes."""

from __future__ import annotations

from dataclasses import replace

from devices import catalog
from devices.feasibility import limits
from devices.natures.choice import predictor
from devices.prices.api_price import ApiPrice, Rates
from devices.worker import Billing, Limits, Pool, Predictor
from loadgen.fault_file import IsReally, NewPrice


def real(pool: Pool, is_really: IsReally) -> tuple[Predictor, Limits]:
    """How long work takes on such a worker in a place of the pool, and what fits on it.

    Its limits are its own device's defaults. Raises `Infeasible` and `UnknownId`.
    """
    claimed = pool.device.id if pool.device else ""
    device = catalog.device(is_really.device or claimed)
    model = catalog.model(is_really.model) if is_really.model else pool.shape
    if model is None:
        raise ValueError(f"{pool.name} is a metered API")
    chips, precision = is_really.chips or pool.chips, is_really.precision or pool.precision
    room = limits(device, model, chips, precision, pool.kv_precision, block_size=pool.limits.block_size)
    timed = predictor(device, model, chips, precision, pool.kv_precision, room.max_batched_tokens, engine=pool.engine)
    return timed, room


def repriced(billing: Billing, price: NewPrice) -> Billing:
    """The billing at its new price; what is not named stays."""
    if billing.price is not None:
        return replace(billing, price=_api_price(billing.price, price))
    if price.factor is not None:
        return replace(billing, usd_per_chip_hour=billing.usd_per_chip_hour * price.factor)
    rent = price.usd_per_chip_hour
    return billing if rent is None else replace(billing, usd_per_chip_hour=rent)


def _api_price(listed: ApiPrice, price: NewPrice) -> ApiPrice:
    if price.factor is None:
        given, answered = price.usd_per_m_input, price.usd_per_m_output
        return replace(
            listed,
            usd_per_m_input=listed.usd_per_m_input if given is None else given,
            usd_per_m_output=listed.usd_per_m_output if answered is None else answered,
        )
    factor = price.factor
    base = _scaled(listed, factor)
    return replace(
        listed,
        usd_per_m_input=base.usd_per_m_input,
        usd_per_m_output=base.usd_per_m_output,
        usd_per_m_cached_input=base.usd_per_m_cached_input,
        usd_per_m_cache_write=base.usd_per_m_cache_write,
        tiers={tier: _scaled(rates, factor) for tier, rates in listed.tiers.items()},
        steps=tuple((tokens, _scaled(rates, factor)) for tokens, rates in listed.steps),
        off_peak_rates=listed.off_peak_rates and _scaled(listed.off_peak_rates, factor),
    )


def _scaled(rates: Rates, factor: float) -> Rates:
    cached, write = rates.usd_per_m_cached_input, rates.usd_per_m_cache_write
    return Rates(
        rates.usd_per_m_input * factor,
        rates.usd_per_m_output * factor,
        None if cached is None else cached * factor,
        None if write is None else write * factor,
    )

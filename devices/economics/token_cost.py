"""From worker seconds to USD and joules per token, and what is left of a sale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.economics.margins import Markup, Sale, price_usd, sales
from devices.economics.operating_point import OperatingPoint, Workload
from devices.prices.api_price import Rates

MILLION = 1e6


@dataclass(frozen=True, slots=True)
class TokenCost:
    """USD per million tokens of each kind, on one worker at its operating point."""

    usd_per_m_input: float
    usd_per_m_cached_input: float
    usd_per_m_output: float

    def request_usd(self, workload: Workload) -> float:
        """Of the mean request."""
        return (
            workload.fresh_tokens * self.usd_per_m_input
            + workload.cached_tokens * self.usd_per_m_cached_input
            + workload.output_tokens * self.usd_per_m_output
        ) / MILLION

    def usd_per_m_written(self, workload: Workload) -> float:
        """The whole cost of requests over the tokens they write: what benchmarks that count output report."""
        return self.request_usd(workload) / workload.output_tokens * MILLION

    def usd_per_m_all(self, workload: Workload) -> float:
        """Over all tokens, read or written. Moves with the share of input as prices of input and output differ."""
        return self.request_usd(workload) / (workload.prompt_tokens + workload.output_tokens) * MILLION

    def times(self, factor: float) -> TokenCost:
        """Every kind of token at so many times the cost."""
        return TokenCost(
            self.usd_per_m_input * factor, self.usd_per_m_cached_input * factor, self.usd_per_m_output * factor
        )

    def priced(self, margin: float) -> TokenCost:
        """What to ask for each kind of token to keep `margin` of the price."""
        return self.times(price_usd(1.0, margin))


def token_usd(point: OperatingPoint, usd_per_worker_hour: float, utilisation: float = 1.0) -> TokenCost:
    """Costs at an operating point that the worker runs at for `utilisation` of the time it is paid for."""
    usd_per_s = usd_per_worker_hour / 3600 / utilisation
    return TokenCost(
        usd_per_m_input=point.input_s * usd_per_s * MILLION,
        usd_per_m_cached_input=point.cached_s * usd_per_s * MILLION,
        usd_per_m_output=point.output_s * usd_per_s * MILLION,
    )


def layer_prices(
    cost: TokenCost, usd_per_chip_hour: float, markups: Sequence[Markup]
) -> tuple[tuple[Sale, TokenCost], ...]:
    """Up the stack from a chip-hour and what its tokens cost: what a layer asks for the hour, and so for its tokens."""
    return tuple((sale, cost.times(sale.price_usd / usd_per_chip_hour)) for sale in sales(usd_per_chip_hour, markups))


@dataclass(frozen=True, slots=True)
class TokenEnergy:
    """Joules per token by phase, at the all-in power of the worker: prompt token prefilled, token written."""

    joules_per_input: float
    joules_per_cached_input: float
    joules_per_output: float

    def request_joules(self, workload: Workload) -> float:
        """Of the mean request."""
        return (
            workload.fresh_tokens * self.joules_per_input
            + workload.cached_tokens * self.joules_per_cached_input
            + workload.output_tokens * self.joules_per_output
        )


def token_energy(point: OperatingPoint, chips: int, allin_kw: float, pue: float = 1.0) -> TokenEnergy:
    """The worker draws its all-in power whatever it does; each token bears the seconds it takes."""
    watts = allin_kw * 1000 * pue * chips
    return TokenEnergy(point.input_s * watts, point.cached_s * watts, point.output_s * watts)


def profit_usd(cost_usd: float, sell: Rates, workload: Workload) -> float:
    """What one request leaves at a sell price; negative where it is served at a loss."""
    return sell.charge_usd(workload.prompt_tokens, workload.output_tokens, workload.cached_tokens) - cost_usd

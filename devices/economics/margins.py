"""The token factory's layers: each buys from the one below, adds its own cost, and keeps its margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Layer(Enum):
    """Who sells what, from the bottom up."""

    CHIP = "chip"
    """Sells accelerators: capital of the next layer."""
    IAAS = "iaas"
    """Sells chip-hours."""
    RESALE = "resale"
    """Rents chip-hours and sells them on; may occur more than once."""
    PAAS = "paas"
    """Sells served endpoints: chip-hours with an engine on them."""
    MODEL = "model"
    """Sells tokens."""
    APPLICATION = "application"
    """Sells a product that uses tokens."""


@dataclass(frozen=True, slots=True)
class Markup:
    """One layer's gross margin, a fraction of its own price, and what it spends itself per unit sold."""

    layer: Layer
    margin: float
    added_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Sale:
    """What a layer pays for one unit and what it asks for it."""

    layer: Layer
    cost_usd: float
    price_usd: float

    @property
    def profit_usd(self) -> float:
        return self.price_usd - self.cost_usd

    @property
    def margin(self) -> float:
        return gross_margin(self.cost_usd, self.price_usd)


def price_usd(cost_usd: float, margin: float) -> float:
    """Price that leaves `margin` of itself: cost / (1 - margin)."""
    return cost_usd / (1 - margin)


def gross_margin(cost_usd: float, price: float) -> float:
    """Share of the price that is not cost."""
    return (price - cost_usd) / price


def margin_of_return(target_return: float) -> float:
    """The gross margin that earns a return on cost: 20 % on cost is 16.7 % of the price."""
    return target_return / (1 + target_return)


def margin_of_multiple(price_over_cost: float) -> float:
    """The gross margin behind a price so many times the cost: four times is 75 %."""
    return 1 - 1 / price_over_cost


def sales(cost_usd: float, markups: Sequence[Markup]) -> tuple[Sale, ...]:
    """Every layer's cost and price of one unit, bottom first; each layer's price is the next one's cost."""
    made: list[Sale] = []
    for markup in markups:
        paid = (made[-1].price_usd if made else cost_usd) + markup.added_usd
        made.append(Sale(markup.layer, paid, price_usd(paid, markup.margin)))
    return tuple(made)


def markups(margins: Mapping[str, float]) -> tuple[Markup, ...]:
    """From names and margins, in the order of the stack. Raises `ValueError` for an unknown layer or a margin of 1."""
    known = {layer.value: layer for layer in Layer}
    for name, margin in margins.items():
        if name not in known:
            raise ValueError(f"unknown layer '{name}'; known: {', '.join(known)}")
        if not 0 <= margin < 1:
            raise ValueError(f"margin of {name}: {margin:g} is not a fraction of a price, 0 to below 1")
    order = list(Layer)
    return tuple(
        sorted(
            (Markup(known[name], margin) for name, margin in margins.items()), key=lambda made: order.index(made.layer)
        )
    )

"""The policies by name. Add one in one file and one line here, or name your own as `your_module:YourPolicy`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping

from policies.api import Policy
from policies.cost_slo import CostSlo
from policies.least_load import LeastLoad
from policies.power_of_two import PowerOfTwo
from policies.prefix_affinity import PrefixAffinity
from policies.round_robin import RoundRobin
from policies.uniform import Random

POLICIES: dict[str, type[Policy]] = {
    "cost-slo": CostSlo,
    "least-load": LeastLoad,
    "power-of-two": PowerOfTwo,
    "prefix-affinity": PrefixAffinity,
    "random": Random,
    "round-robin": RoundRobin,
}


class PolicyError(ValueError):
    """The policy cannot be built; the message says what was asked for and what would do."""


def load(name: str, options: Mapping[str, object] | None = None) -> Policy:
    """The policy of that name, or `module:Class`, built with its own fields as options."""
    kind = _imported(name) if ":" in name else _listed(name)
    try:
        policy = kind(**(options or {}))
    except ValueError as error:
        raise PolicyError(f"policy '{name}': {error}") from None
    except TypeError as error:
        known = ", ".join(getattr(kind, "__dataclass_fields__", {})) or "none"
        raise PolicyError(f"policy '{name}': {error}; its options are: {known}") from None
    if not callable(getattr(policy, "place", None)):
        raise PolicyError(f"policy '{name}' has no method `place(request, fleet, now)`")
    return policy


def _listed(name: str) -> type[Policy]:
    if name in POLICIES:
        return POLICIES[name]
    near = difflib.get_close_matches(name, POLICIES, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(POLICIES)}, or your_module:YourPolicy"
    raise PolicyError(f"unknown policy '{name}'; {hint}")


def _imported(name: str) -> type[Policy]:
    module, _, attribute = name.partition(":")
    try:
        kind: type[Policy] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PolicyError(f"policy '{name}': {error}; is the module on PYTHONPATH?") from None
    except Exception as error:  # noqa: BLE001 - importing runs code of the user's, which may raise anything
        raise PolicyError(f"policy '{name}': {type(error).__name__}: {error}") from None
    return kind

"""How long answers will be: a running mean, the only thing any policy knows of output lengths."""

from __future__ import annotations

from policies.api import Request


class OutputLengths:
    """Mean output length per (model, class), learned from finished requests.

    Starts at `PRIOR_TOKENS` with the weight of `PRIOR_WEIGHT` requests and forgets beyond `MEMORY` requests.
    """

    PRIOR_TOKENS = 200.0
    PRIOR_WEIGHT = 10
    MEMORY = 500

    def __init__(self) -> None:
        self._means: dict[tuple[str, str], tuple[float, int]] = {}

    def expected(self, request: Request) -> float:
        """Mean of the request's kind, at most the client's own limit."""
        mean, _ = self._means.get((request.model, request.traffic_class), (self.PRIOR_TOKENS, 0))
        return mean if request.max_tokens is None else min(mean, float(request.max_tokens))

    def finished(self, request: Request, output_tokens: int) -> None:
        """Learn from one finished request."""
        key = request.model, request.traffic_class
        mean, count = self._means.get(key, (self.PRIOR_TOKENS, self.PRIOR_WEIGHT))
        count = min(count + 1, self.MEMORY)
        self._means[key] = mean + (output_tokens - mean) / count, count

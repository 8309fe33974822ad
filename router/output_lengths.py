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
        self._asked: Request | None = None
        self._answer = 0.0

    def expected(self, request: Request) -> float:
        """Mean of the request's kind, at most the client's own limit."""
        if request is not self._asked:  # one decision asks several times
            known = self._means.get((request.model, request.traffic_class))
            mean = self.PRIOR_TOKENS if known is None else known[0]
            most = request.max_tokens
            self._answer = mean if most is None or mean <= most else float(most)
            self._asked = request
        return self._answer

    def finished(self, request: Request, output_tokens: int) -> None:
        """Learn from one finished request."""
        self._asked = None
        key = request.model, request.traffic_class
        mean, count = self._means.get(key) or (self.PRIOR_TOKENS, self.PRIOR_WEIGHT)
        if count < self.MEMORY:
            count += 1
        self._means[key] = mean + (output_tokens - mean) / count, count

"""What a worker really takes where that is not what its profile says: another worker's predictor, changed."""

from __future__ import annotations

from dataclasses import dataclass

from devices.worker import DecodeLine, Predictor


@dataclass(frozen=True, slots=True)
class Slowed:
    """Everything takes `factor` times as long: a throttled chip, a sick host, a noisy neighbour. Below 1, less long."""

    predictor: Predictor
    factor: float

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.factor * self.predictor.prefill_s(new_tokens, cached_tokens)

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.factor * self.predictor.decode_step_s(sequences, kv_tokens)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return self.factor * self.predictor.step_s(decodes, kv_tokens, chunks)

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        return _times(self.factor, self.predictor.decode_line(sequences, kv_tokens))


@dataclass(frozen=True, slots=True)
class Misstated:
    """Work on prompts takes `scale * shape` times as long as `predictor` says, decoding `scale / shape` times.

    So `scale` is how far the profile is off as a whole, `shape` how far it is off in the ratio of the two phases, once
    up and once down: whoever fits one factor to all of a worker's times finds `scale`, and no factor that mends
    `shape`. Of an iteration with both, what its chunks add to the decode step counts as work on prompts.
    """

    predictor: Predictor
    scale: float = 1.0
    shape: float = 1.0

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.scale * self.shape * self.predictor.prefill_s(new_tokens, cached_tokens)

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.scale / self.shape * self.predictor.decode_step_s(sequences, kv_tokens)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        whole_s = self.predictor.step_s(decodes, kv_tokens, chunks)
        if not chunks:
            return self.scale / self.shape * whole_s
        decode_s = self.predictor.decode_step_s(decodes, kv_tokens) if decodes else 0.0
        return self.scale / self.shape * decode_s + self.scale * self.shape * max(whole_s - decode_s, 0.0)

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        return _times(self.scale / self.shape, self.predictor.decode_line(sequences, kv_tokens))


def _times(factor: float, line: DecodeLine) -> DecodeLine:
    """A line of decode seconds stretched; it holds as far as before."""
    seconds, per_kv_token, until_kv_tokens = line
    return factor * seconds, factor * per_kv_token, until_kv_tokens

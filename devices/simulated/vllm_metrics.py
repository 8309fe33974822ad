"""vLLM's metrics of a simulated worker, in model seconds. Counted as plain numbers, shaped only when scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from devices.simulated.engine import Sequence, SimulatedWorker, Step

# Bucket bounds of vLLM's own histograms, with finer ones below for chips that need less than 10 ms a token.
_TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10, 20, 40, 80, 160)
_TOKEN_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10)
_REQUEST_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_TRANSFER_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 5.0)
_TRANSFER_BYTES = tuple(float(2**power) for power in range(20, 38, 2))


class Buckets:
    """One histogram. An event that `times` sequences saw together is counted in one go."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value; a bound belongs to the bucket below it."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def family(self, name: str, text: str, labels: dict[str, str]) -> HistogramMetricFamily:
        """The histogram as Prometheus wants it, cumulated."""
        total, rows = 0, []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
        family = HistogramMetricFamily(name, text, labels=list(labels))
        family.add_metric(list(labels.values()), rows, self._sum)
        return family


class VllmMetrics(Collector):
    """What one worker has done; register it in a registry of its own."""

    def __init__(self, worker: SimulatedWorker, model: str) -> None:
        self._worker = worker
        self._labels = {"model_name": model, "engine": "0"}
        self.ended: Counter[str] = Counter()
        self.failed_transfers = 0
        self._prompt_tokens = self._cached_tokens = self._output_tokens = 0
        self._ttft, self._itl, self._tpot = Buckets(_TTFT_S), Buckets(_TOKEN_S), Buckets(_TOKEN_S)
        self._e2e, self._queue = Buckets(_REQUEST_S), Buckets(_REQUEST_S)
        self._transfer_s, self._transfer_bytes = Buckets(_TRANSFER_S), Buckets(_TRANSFER_BYTES)

    def stepped(self, step: Step) -> None:
        """An iteration has ended."""
        self._output_tokens += step.tokens
        if step.continuing:
            self._itl.observe(step.end_s - step.start_s, step.continuing)
        for sequence in step.resumed:
            self._itl.observe(step.end_s - sequence.last_s)
        for sequence in step.first:
            self._prompt_tokens += sequence.prompt_tokens
            self._cached_tokens += sequence.cached_tokens
            self._ttft.observe(sequence.first_s - sequence.submitted_s)
            self._queue.observe(sequence.admitted_s - sequence.submitted_s)

    def finished(self, sequence: Sequence, reason: str) -> None:
        """A sequence got its last token."""
        self.ended[reason] += 1
        self._e2e.observe(sequence.ended_s - sequence.submitted_s)
        if sequence.output_tokens > 1:
            self._tpot.observe((sequence.ended_s - sequence.first_s) / (sequence.output_tokens - 1))

    def transferred(self, seconds: float, size_bytes: float) -> None:
        """KV of a prompt has been fetched from a prefill worker."""
        self._transfer_s.observe(seconds)
        self._transfer_bytes.observe(size_bytes)

    def collect(self) -> Iterator[Metric]:
        """Names and labels as in vLLM 0.33."""
        yield from self._gauges()
        yield from self._counters()
        histograms = {
            "time_to_first_token_seconds": self._ttft,
            "inter_token_latency_seconds": self._itl,
            "request_time_per_output_token_seconds": self._tpot,
            "e2e_request_latency_seconds": self._e2e,
            "request_queue_time_seconds": self._queue,
            "nixl_xfer_time_seconds": self._transfer_s,
            "nixl_bytes_transferred": self._transfer_bytes,
        }
        for name, buckets in histograms.items():
            yield buckets.family(f"vllm:{name}", name.replace("_", " "), self._labels)

    def _gauges(self) -> Iterator[Metric]:
        worker, limits = self._worker, self._worker.limits
        gauges = {
            "num_requests_running": worker.running,
            "num_requests_waiting": worker.waiting + worker.transferring,
            "kv_cache_usage_perc": worker.kv_tokens / limits.kv_tokens,
        }
        for name, value in gauges.items():
            yield self._gauge(name, value, {})
        by_reason = self._gauge("num_requests_waiting_by_reason", worker.waiting, {"reason": "capacity"})
        by_reason.add_metric([*self._labels.values(), "deferred"], worker.transferring)
        yield by_reason
        blocks = limits.kv_tokens // limits.block_size
        yield self._gauge("cache_config_info", 1, {"block_size": str(limits.block_size), "num_gpu_blocks": str(blocks)})

    def _gauge(self, name: str, value: float, more: dict[str, str]) -> GaugeMetricFamily:
        labels = {**self._labels, **more}
        family = GaugeMetricFamily(f"vllm:{name}", name.replace("_", " "), labels=list(labels))
        family.add_metric(list(labels.values()), value)
        return family

    def _counters(self) -> Iterator[Metric]:
        worker = self._worker
        counters = {
            "num_preemptions": worker.preemptions,
            "prefix_cache_queries": self._prompt_tokens,
            "prefix_cache_hits": self._cached_tokens,
            "prompt_tokens": self._prompt_tokens,
            "generation_tokens": self._output_tokens,
            "nixl_num_kv_expired_reqs": worker.lease_expired,
            "nixl_num_failed_transfers": self.failed_transfers,
        }
        for name, value in counters.items():
            family = CounterMetricFamily(f"vllm:{name}", name.replace("_", " "), labels=list(self._labels))
            family.add_metric(list(self._labels.values()), value)
            yield family
        success = CounterMetricFamily(
            "vllm:request_success", "requests ended, by reason", labels=[*self._labels, "finished_reason"]
        )
        for reason in ("stop", "length", "abort"):
            count = worker.aborted if reason == "abort" else self.ended[reason]
            success.add_metric([*self._labels.values(), reason], count)
        yield success

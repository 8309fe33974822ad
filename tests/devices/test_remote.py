"""Metered APIs as others measured them."""

import pytest

from devices.natures import remote
from devices.natures.remote import Quantiles, RemotePredictor


def test_groq_answers_as_fast_as_llmperf_measured() -> None:
    groq = remote.profile("groq", "llama-2-70b")
    assert groq is not None
    assert (groq.samples, groq.concurrency, groq.prompt_tokens, groq.output_tokens) == (150, 5, 550, 150)
    assert groq.ttft_s.value(0.5) == pytest.approx(0.222, abs=5e-4)
    assert groq.ttft_s.value(0.95) == pytest.approx(0.304, abs=5e-4)
    assert groq.tpot_s.value(0.5) == pytest.approx(0.0053, abs=5e-5)
    assert groq.tpot_s.value(0.95) == pytest.approx(0.0062, abs=5e-5)
    assert "llmperf-leaderboard" in groq.source


def test_every_profile_can_be_read_and_its_quantiles_ascend() -> None:
    known = [remote.profile(provider, model) for provider in remote.providers() for model in remote.models(provider)]
    assert len(known) == 16
    for entry in known:
        assert entry is not None
        assert entry.source
        for quantiles in (entry.ttft_s, entry.tpot_s):
            assert len(quantiles.at) == len(quantiles.values)
            assert sorted(quantiles.values) == list(quantiles.values)


def test_a_provider_calls_a_model_by_its_own_name() -> None:
    assert remote.profile("groq", "llama2-70b-4096") == remote.profile("groq", "llama-2-70b")
    newer = remote.profile("groq", "llama-3.1-70b")  # the same shape as 3.3
    assert newer is not None
    assert (newer.model, newer.samples) == ("llama-3.3-70b", 0)
    assert newer.limits is not None
    assert (newer.limits.requests_per_min, newer.limits.tokens_per_min) == (30, 12_000)


@pytest.mark.parametrize(("provider", "model"), [("groq", "gpt-17"), ("nobody", "llama-2-70b")])
def test_what_nobody_measured_is_none(provider: str, model: str) -> None:
    assert remote.profile(provider, model) is None


def test_what_is_known_of_no_provider_is_an_empty_list() -> None:
    assert remote.models("nobody") == []


def test_quantiles_are_interpolated_and_end_where_the_measurements_do() -> None:
    known = Quantiles((0.5, 0.9), (1.0, 3.0))
    assert [known.value(p) for p in (0.1, 0.5, 0.7, 0.9, 0.99)] == pytest.approx([1, 1, 2, 3, 3])


def test_a_predictor_keeps_its_times_with_the_probability_asked_for() -> None:
    groq = remote.profile("groq", "llama-2-70b")
    assert groq is not None
    median, careful = groq.predictor(), groq.predictor(0.95)
    assert median.prefill_s(550) == groq.ttft_s.value(0.5) < careful.prefill_s(550)
    assert median.decode_step_s(1, 0) == groq.tpot_s.value(0.5) < careful.decode_step_s(1, 0)


def test_an_api_slows_only_beyond_the_concurrency_it_was_measured_at() -> None:
    api = RemotePredictor(0.2, 0.01, slope_per_sequence=0.1, concurrency=5)
    assert api.decode_step_s(1, 0) == api.decode_step_s(5, 0) == 0.01
    assert api.decode_step_s(7, 0) == pytest.approx(0.012)
    assert api.step_s(6, 0, [(100, 0)]) == pytest.approx(0.24)

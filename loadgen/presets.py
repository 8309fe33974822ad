"""Named workloads: what the traffic of common uses is like, each figure with its source or called an assumption."""

from __future__ import annotations

from dataclasses import dataclass

from devices.catalog import did_you_mean
from loadgen.lengths import Lognormal
from loadgen.mix import WorkloadError
from loadgen.sessions import Sessions

AZURE = "Azure LLM inference trace 2023 (Patel et al., Splitwise, ISCA 2024)"


@dataclass(frozen=True, slots=True)
class Preset:
    """A workload by name.

    Attributes:
        rate_per_s: requests, where no other rate is asked for.
        arrivals: how sessions begin, where nothing else is asked for.
        sources: what each figure rests on.
    """

    name: str
    about: str
    sessions: Sessions
    arrivals: str
    rate_per_s: float
    sources: tuple[str, ...]


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "chat",
            "people talking to an assistant, a few turns each",
            Sessions(
                first=Lognormal(200, 1.1),
                more=Lognormal(60, 1.1),
                output=Lognormal(140, 0.85, most_tokens=1000),
                turns=3.5,
                think_p50_s=90,
                think_sigma=1.4,
                shared=Lognormal(200, 0.5),
                applications=20,
                most_tokens=16_384,
            ),
            "poisson",
            5.6,
            (
                f"answers (p50 140, p90 428), rate, and p50 of prompts as they come out: conversations, first half "
                f"hour, of the {AZURE}",
                "think time: chosen so that most turns follow within 10 minutes, as 80 % of the reuse in chat does in "
                "Wang et al., KVCache Cache in the Wild (arXiv 2506.02634)",
                "turns, system prompts: assumption",
            ),
        ),
        Preset(
            "agentic",
            "agents that call tools: about 96,000 tokens in and 200 out per call, nearly all of it said before",
            Sessions(
                first=Lognormal(30_000, 0.5, most_tokens=131_072),
                more=Lognormal(1_000, 1.0),
                output=Lognormal(200, 0.8, most_tokens=4096),
                turns=40,
                think_p50_s=5,
                think_sigma=1.2,
                shared=Lognormal(12_000, 0.3),
                applications=8,
                most_tokens=200_000,
            ),
            "poisson",
            2.0,
            (
                "all figures: assumption, of coding agents with contexts of up to 200,000 tokens; for comparison, Ji, "
                "Context Engineering for AI Agents (Manus, 2025) reports 100 tokens in per token out",
            ),
        ),
        Preset(
            "reasoning",
            "models that think aloud: short questions, answers of thousands of tokens",
            Sessions(first=Lognormal(270, 1.5), output=Lognormal(2000, 1.1)),
            "poisson",
            1.0,
            (
                "prompts (p50 270): DeepSeek-R1 clients of ServeGen (Xiang et al., arXiv 2505.09999)",
                "answers: assumption, longer than theirs (p50 589, p99 11,960) because thinking is; rate: assumption",
            ),
        ),
        Preset(
            "rag",
            "questions with retrieved passages: long prompts of their own behind a shared instruction",
            Sessions(
                first=Lognormal(3500, 0.5), output=Lognormal(250, 0.7), shared=Lognormal(600, 0.4), applications=20
            ),
            "poisson",
            4.0,
            ("all figures: assumption, eight passages of about 400 tokens and a question",),
        ),
        Preset(
            "code",
            "completions while someone types: medium prompts, answers of a line, sudden bursts",
            Sessions(first=Lognormal(1465, 0.95, most_tokens=7437), output=Lognormal(13, 1.1, most_tokens=1899)),
            "gamma:13.6",
            3.1,
            (f"lengths, rate and burstiness: code, first half hour, of the {AZURE}",),
        ),
        Preset(
            "batch",
            "documents summarised in jobs: steady lengths, a minute of load in every ten",
            Sessions(first=Lognormal(2700, 0.35, most_tokens=4035), output=Lognormal(170, 0.65, most_tokens=4015)),
            "mmpp:50:60:540",
            4.0,
            (
                "lengths (p50 2,720 in, 169 out): arXiv summarisation trace of Vidur (Agrawal et al., MLSys 2024)",
                "arrivals and rate: assumption",
            ),
        ),
    )
}


def preset(name: str) -> Preset:
    """Raises WorkloadError for a name that is none."""
    if name not in PRESETS:
        raise WorkloadError(f"unknown workload '{name}'; {did_you_mean(name, PRESETS)}")
    return PRESETS[name]

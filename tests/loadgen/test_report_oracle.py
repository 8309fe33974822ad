"""The report made of columns against the same report made row by row."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from row_by_row import row_by_row_report

from devices.prices.api_price import Rates
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Phase, Pool, Worker
from loadgen.gaps import Gaps
from loadgen.report import Run, report
from loadgen.result import Result
from loadgen.results import Results
from policies.api import Slo
from router.ledger import Outcome


class Flat:
    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return 1.0

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return 1.0

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return 1.0


def pool(name: str, billing: Billing) -> Pool:
    return Pool(name, "m", frozenset(Phase), "vllm", billing, Flat(), Limits(100, 8, False, 8, 100))


GPU = pool("gpu", Billing(BillingKind.ON_DEMAND, 3.60))
STEPPED = ApiPrice(1.0, 2.0, 0.25, steps=((500, Rates(2.0, 3.0)), (1500, Rates(4.0, 6.0, 1.0))))
CLOUD = pool("cloud", Billing(BillingKind.METERED, price=STEPPED))
FLEET = (Worker("gpu-0", GPU, ""), Worker("gpu-1", GPU, ""), Worker("cloud-0", CLOUD, ""), Worker("cloud-1", CLOUD, ""))
NAMES = ("", "gpu-0", "gpu-1", "cloud-0", "cloud-1", "cloud-7", "lpu-3", "odd")
SLOS = (Slo(), Slo(ttft_s=1.0), Slo(tpot_s=0.05), Slo(ttft_s=0.5, tpot_s=0.1, e2e_s=3.0))

times_s = st.one_of(st.none(), st.floats(0, 5), st.sampled_from([0.5, 1.0, 3.0]))
results = st.builds(
    Result,
    arrival_s=st.floats(0, 50),
    outcome=st.sampled_from(Outcome),
    traffic_class=st.sampled_from(["", "default", "chat", "batch"]),
    slo=st.sampled_from(SLOS),
    ttft_s=times_s,
    e2e_s=times_s,
    prompt_tokens=st.integers(0, 2000),
    output_tokens=st.integers(0, 50),
    prefix_hit_tokens=st.just(0),
    prefill=st.sampled_from(NAMES),
    decode=st.sampled_from(NAMES),
    message=st.sampled_from(["", "no room"]),
)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(results, max_size=30), fleet=st.sampled_from([(), FLEET]), offered_s=st.sampled_from([0.0, 50.0]))
@example(rows=[], fleet=FLEET, offered_s=0.0)
def test_columns_and_rows_make_the_same_report(rows: list[Result], fleet: tuple[Worker, ...], offered_s: float) -> None:
    run = Run("p", rows, Gaps(), offered_s, 60.0, fleet, cpu_s=2.0)
    made = report(run)
    del made["itl_s"]
    assert json.dumps(made) == json.dumps(row_by_row_report(run))


@settings(max_examples=200, deadline=None)
@given(st.lists(results, max_size=20))
def test_results_come_out_of_columns_as_they_went_in(rows: list[Result]) -> None:
    kept = Results.of(rows)
    assert list(kept) == rows
    assert [kept[i] for i in range(-len(rows), 0)] == rows
    assert kept[1::2] == rows[1::2]

from collections import Counter

from builders import fleet, pool, worker

from loadgen.board import COLUMNS, Board
from loadgen.loadtest import LoadTest, Target
from loadgen.result import Result
from loadgen.traffic import Traffic
from router.ledger import Outcome


def board() -> tuple[Board, LoadTest]:
    gpu, lpu = pool("gpu"), pool("lpu", usd_per_hour=36.0)
    test = LoadTest(Target("http://h", "m"), Traffic("m"))
    return Board(fleet(worker("gpu-0", gpu), worker("gpu-1", gpu), worker("lpu-0", lpu)), test), test


def done(prefill: str, decode: str) -> Result:
    return Result(0.0, Outcome.COMPLETED, ttft_s=0.2, e2e_s=1.2, output_tokens=11, prefill=prefill, decode=decode)


def test_each_pool_has_a_line_with_its_rate_and_its_requests() -> None:
    shown, test = board()
    shown.lines(now=10.0)
    test.tokens = Counter({"gpu-0": 50, "gpu-1": 50, "lpu-0": 10})
    test.results = [done("gpu-0", "gpu-0"), done("gpu-1", "lpu-0")]
    gpu, lpu = (dict(zip(COLUMNS, line, strict=True)) for line in shown.lines(now=12.0))
    assert (gpu["pool"], gpu["workers"], gpu["tokens/s"], gpu["prefills"], gpu["decodes"]) == ("gpu", 2, 50.0, 2, 1)
    assert (lpu["tokens/s"], lpu["prefills"], lpu["decodes"], round(float(lpu["USD/h"] or 0), 6)) == (5.0, 0, 1, 36.0)
    assert lpu["TTFT p50 ms"] == 200
    assert round(float(lpu["TPOT p50 ms"] or 0), 6) == 100


def test_the_rate_forgets_what_is_long_past() -> None:
    shown, test = board()
    shown.lines(now=0.0)
    test.tokens = Counter({"gpu-0": 1000})
    for now in (1.0, 20.0, 24.0):
        line = shown.lines(now)[0]
    assert line[3] == 0


def test_the_whole_run_is_one_line() -> None:
    shown, test = board()
    test.sent = 3
    test.results = [done("gpu-1", "lpu-0"), Result(0.0, Outcome.FAILED)]
    assert shown.total() == (
        "3 sent, 1 in flight, 1 completed, 1 kept their promise, 1 prefilled on one worker and decoded on another, "
        "1 not completed; fleet 43.20 USD/h"
    )

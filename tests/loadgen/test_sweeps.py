"""Sweeps: the grid, the summary over seeds, and that it does not matter where points run."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from loadgen.finding import Finding, Misuse
from loadgen.sweeps import Point, Ran, Sweep, figures_of, grid, seeds_of
from loadgen.sweeps_runner import Runner, in_turn, on_cores, on_ray
from loadgen.sweeps_summary import summary
from loadgen.workload import Workload

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "loadgen" / "data" / "demo.yaml"
MINIMAL = ROOT / "deploy" / "examples" / "minimal.yaml"
SHORT = Sweep(Workload(duration_s=2.0, rate_per_s=1.0), timing=False)
POINTS = grid([DEMO], [2.0, 5.0], [1.0], ["cost-slo", "random"], [1, 2])


def reports(runner: Runner, sweep: Sweep = SHORT, points: Sequence[Point] = POINTS) -> list[object]:
    found = dict(runner(sweep, points))
    return [found[number].report for number in range(len(points))]


def test_a_grid_has_every_combination_and_seeds_change_fastest() -> None:
    points = grid([DEMO, MINIMAL], [None], [1.0, 2.0], ["a", "b"], [1, 2])
    assert len(points) == 16
    assert [(point.policy, point.seed) for point in points[:4]] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert [point.rate_scale for point in points[:8]] == [1.0] * 4 + [2.0] * 4
    assert points[8].config == MINIMAL


def test_without_a_policy_each_fleet_has_its_own() -> None:
    assert [point.policy for point in grid([DEMO], [1.0], [1.0], [], [1])] == ["cost-slo"]


def test_a_point_says_its_rate_and_its_scale_where_they_mean_something() -> None:
    assert Point(DEMO, 5.0, 1.0, "p", 3).json() == {"config": str(DEMO), "rate": 5.0, "policy": "p", "seed": 3}
    assert list(Point(DEMO, None, 1.0, "p", 3).cell()) == ["config", "rate_scale", "policy"]
    assert list(Point(DEMO, 5.0, 2.0, "p", 3).cell()) == ["config", "rate", "rate_scale", "policy"]


def test_figures_and_seeds_are_read_as_written() -> None:
    assert figures_of("--rate", "5,10, 0.5") == [5.0, 10.0, 0.5]
    assert seeds_of("7") == [7]
    assert seeds_of("1..3,9") == [1, 2, 3, 9]


@pytest.mark.parametrize("text", ["", "0", "-1", "inf", "nan", "5,,6", "5,5", "x", "1e7"])
def test_a_rate_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(Misuse, match=r"^--rate .*: expected a number"):
        figures_of("--rate", text)


@pytest.mark.parametrize("text", ["", "x", "-1", "1..", "..3", "3..1", "1,1", "1..3,2", "0..10000", "1.5"])
def test_seeds_that_are_none_are_wrong_usage(text: str) -> None:
    with pytest.raises(Misuse, match=r"^--seed .*: expected a whole number"):
        seeds_of(text)


def report(attainment: float | None, p99: float | None = 1.0) -> dict[str, object]:
    times = {"p99": p99}
    return {
        "offered_rps": 10.0,
        "slo_attainment": attainment,
        "goodput_rps": 9.0,
        "ttft_s": times,
        "tpot_s": times,
        "usd_per_mtok_good": None,
    }


def test_a_summary_is_mean_and_sample_deviation_over_seeds_in_the_order_of_the_grid() -> None:
    points = grid([DEMO], [2.0], [1.0], ["b", "a"], [1, 2])
    first, second = summary(points, [report(0.8), report(0.9), report(None), report(1.0, None)])
    assert (first["policy"], second["policy"], first["seeds"]) == ("b", "a", 2)
    assert first["slo_attainment"] == {"mean": pytest.approx(0.85), "sd": pytest.approx(0.070710678)}
    assert second["slo_attainment"] == {"mean": 1.0, "sd": None}
    assert second["ttft_p99_s"] == {"mean": 1.0, "sd": None}
    assert first["usd_per_mtok_good"] == {"mean": None, "sd": None}


def test_a_failed_run_names_its_combination_and_keeps_its_kind() -> None:
    empty = Point(DEMO, None, 1.0, "cost-slo", 4)
    trace = Workload(ROOT / "loadgen" / "data" / "azure2023_conv_10min.csv.gz", start_s=99_999)
    with pytest.raises(Finding, match=r"policy cost-slo, seed 4: nothing to simulate"):
        list(in_turn(Sweep(trace), [empty]))
    with pytest.raises(Misuse, match=r"policy cost-sol, seed 4: unknown policy 'cost-sol'"):
        list(in_turn(SHORT, [Point(DEMO, 1.0, 1.0, "cost-sol", 4)]))


def test_a_bug_in_a_run_is_told_with_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dividing_policy.py").write_text(
        "class Broken:\n    def place(self, request, fleet, now):\n        return 1 / 0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match=r"policy dividing_policy:Broken, seed 4: Traceback(.|\n)*ZeroDivisionError"):
        list(in_turn(SHORT, [Point(DEMO, 5.0, 1.0, "dividing_policy:Broken", 4)]))


def test_what_is_wrong_with_the_last_point_is_said_before_the_first_runs() -> None:
    with pytest.raises(Exception, match="unknown policy 'cost-sol'"):
        SHORT.check([*POINTS, Point(DEMO, 1.0, 1.0, "cost-sol", 1)])


def test_a_point_depends_on_no_other() -> None:
    assert reports(in_turn) == [reports(in_turn, points=[point])[0] for point in POINTS]


@pytest.mark.slow
def test_on_all_cores_reports_are_the_same() -> None:
    assert reports(on_cores(2)) == reports(in_turn)


@pytest.mark.slow
def test_a_run_that_fails_in_its_process_names_its_combination_and_leaves_none_behind() -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(Misuse, match=r"rate 9\.0, policy cost-sol, seed 4: unknown policy"):
        list(on_cores(2)(SHORT, [*POINTS, Point(DEMO, 9.0, 1.0, "cost-sol", 4)]))
    psutil.wait_procs(ended := _workers(before), timeout=20)
    assert not [child for child in ended if child.is_running()]


def _workers(before: set[psutil.Process]) -> list[psutil.Process]:
    """Children since then, but for the tracker that Python keeps for all."""
    found = []
    for child in set(psutil.Process().children(recursive=True)) - before:
        try:
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_and_every_process_of_it() -> None:
    tokenyard = str(Path(sys.executable).parent / "tokenyard")
    load = ("--rate", "20", "--duration", "60", "--seed", "1..500", "--jobs", "2")
    command = [tokenyard, "simulate", "-c", str(DEMO), *load]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as sweep:
        workers = _once_started(psutil.Process(sweep.pid))
        os.kill(sweep.pid, signal.SIGINT)
        _, told = sweep.communicate(timeout=30)
    assert sweep.returncode == 130
    assert "Traceback" not in told
    psutil.wait_procs(workers, timeout=20)
    assert not [worker for worker in workers if worker.is_running()]


def _once_started(sweep: psutil.Process) -> list[psutil.Process]:
    """Its children, when two of them have worked for a while."""
    while True:
        children = sweep.children(recursive=True)
        if sum(child.cpu_times().user > 1.5 for child in children) >= 2:
            return children
        psutil.wait_procs(children, timeout=0.1)


def test_a_cluster_that_does_not_answer_is_a_finding_at_once() -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'tokenyard[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Finding, match=rf"--ray 127\.0\.0\.1:{port}: .*ray start --head"):
        list(on_ray(f"127.0.0.1:{port}")(SHORT, POINTS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_ray_reports_are_the_same() -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'tokenyard[ray]'")
    assert reports(on_ray("local")) == reports(in_turn)


def test_figures_for_a_page_come_with_a_run_only_where_asked_for() -> None:
    [(_, plain)] = in_turn(SHORT, POINTS[:1])
    [(_, drawn)] = in_turn(Sweep(SHORT.workload, timing=False, plots=True), POINTS[:1])
    assert plain.figures is None
    assert drawn.figures is not None
    assert isinstance(drawn, Ran)
    assert drawn.report == plain.report

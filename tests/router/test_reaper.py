from __future__ import annotations

import asyncio

import pytest

from router.reaper import Reaper


class Job:
    """Waits for ever, and knows whether it was freed."""

    def __init__(self) -> None:
        self.began = self.freed = False

    async def run(self) -> None:
        self.began = True
        try:
            await asyncio.Event().wait()
        finally:
            self.freed = True


async def test_a_job_that_never_ends_is_cut_at_the_limit_and_frees_what_it_holds() -> None:
    reaper, job = Reaper(limit_s=0.01), Job()
    reaper.take("stuck", job.run())
    assert reaper.pending == 1
    async with asyncio.timeout(5):
        await reaper.close()
    assert job.freed
    assert not reaper.pending


async def test_a_job_taken_after_the_end_only_frees() -> None:
    reaper, job = Reaper(limit_s=3600), Job()
    await reaper.close()
    reaper.take("late", job.run())
    async with asyncio.timeout(5):
        await reaper.close()
    assert (job.began, job.freed) == (True, True)


async def test_a_failing_job_is_one_line_in_the_log_and_takes_no_other_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ConnectionError("worker away")

    reaper, job = Reaper(limit_s=0.01), Job()
    reaper.take("other", job.run())
    reaper.take("broken", fail())
    await reaper.close()
    assert job.freed
    [line] = [record for record in caplog.records if "broken" in record.message]
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert "worker away" in line.message

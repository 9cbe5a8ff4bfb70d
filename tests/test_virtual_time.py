"""The virtual clock that all other async tests stand on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import Deadlock, VirtualTimeLoop, run_test

ROUNDS = 100


async def test_a_hundred_simulated_seconds_take_no_real_ones() -> None:
    loop = asyncio.get_running_loop()
    virtual_s, real_s = loop.time(), time.monotonic()
    for _ in range(ROUNDS):
        await asyncio.sleep(1)
    assert loop.time() - virtual_s == pytest.approx(100)
    assert time.monotonic() - real_s < 5


async def test_timers_fire_in_the_order_of_their_times() -> None:
    order: list[str] = []

    async def note(name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        order.append(name)

    await asyncio.gather(note("late", 3.0), note("early", 1.0), note("middle", 2.0))
    assert order == ["early", "middle", "late"]


async def test_a_timeout_fires_on_the_virtual_clock() -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()
    assert loop.time() - start_s == pytest.approx(3600)


async def test_sleeps_longer_than_a_day_end() -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    await asyncio.sleep(400 * 86400)  # the base loop cuts a single wait at one day
    assert loop.time() - start_s == pytest.approx(400 * 86400)


def test_waiting_for_nothing_is_a_deadlock_and_not_a_hang() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="every task waits and no timer is set"):
        run_test(wait_for_ever)


def test_a_deadlock_still_runs_the_cleanup_of_the_tasks() -> None:
    cleaned: list[bool] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(Deadlock):
        run_test(wait_for_ever)
    assert cleaned == [True]


async def test_a_worker_thread_is_waited_for_while_the_clock_stands() -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    async with asyncio.timeout(0.001):  # virtual: the thread takes longer in real time, none in virtual time
        await asyncio.to_thread(time.sleep, 0.02)
    assert loop.time() == start_s


async def test_timers_run_again_after_a_worker_thread() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    await asyncio.to_thread(int)
    assert loop.busy_threads == 0
    await asyncio.sleep(60)


async def test_a_cancelled_hand_off_does_not_stop_the_clock_for_ever() -> None:
    gate = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(gate.wait))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(5)
    gate.set()
    assert task.cancelled()


async def test_an_error_of_a_worker_thread_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 / 0)


def test_an_exception_that_a_callback_loses_fails_the_test() -> None:
    async def lose() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.1)

    with pytest.raises(AssertionError, match="lost in the event loop"):
        run_test(lose)


def test_the_loop_is_closed_afterwards() -> None:
    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    for real_time in (False, True):
        assert run_test(which, real_time=real_time).is_closed()


async def test_fixtures_reach_async_tests(tmp_path: object, request: pytest.FixtureRequest) -> None:
    assert request.node.name == "test_fixtures_reach_async_tests"
    assert tmp_path is not None


@pytest.mark.parametrize("value", [1, 2])
async def test_parameters_reach_async_tests(value: int) -> None:
    assert value in {1, 2}


@given(seconds=st.floats(min_value=0.001, max_value=1e6))
async def test_hypothesis_drives_async_tests(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    start_s = loop.time()
    await asyncio.sleep(seconds)
    assert loop.time() - start_s == pytest.approx(seconds, abs=1e-6)


@pytest.mark.real_time
async def test_the_mark_gives_a_real_clock() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    start_s = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - start_s >= 0.009


class TestMethods:
    async def test_async_methods_run_too(self) -> None:
        assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)

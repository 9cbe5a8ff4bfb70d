"""Bluetooth LE through bleak, against a scripted stack: finding, trying again, losing, cancelling, every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from ble_fakes import (
    ADDRESS,
    COMMAND,
    COMMANDS,
    EVENT,
    INFO,
    NAME,
    OTHER_EVENT,
    OTHERS,
    REQUESTS,
    TABLE,
    FakeClient,
    Heard,
    Script,
)
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakCharacteristicNotFoundError,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)
from bluez_fake import FORBID_BLUEZ, Bluetoothd, system_bus

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    ConnectReason,
    LinkClosed,
    LinkError,
    LinkLost,
    LockmigrateError,
    RefusedError,
    TargetError,
    Unsupported,
)
from lockmigrate.transports import Link
from lockmigrate.transports.ble import (
    BACKOFF_S,
    DISCONNECT_LIMIT_S,
    MAX_UNREAD,
    PAIR_LIMIT_S,
    BleConnection,
    Stack,
    find_ble,
    open_ble,
    scan_ble,
)
from lockmigrate.transports.ble_errors import ATT_ERRORS, request_error, scan_error, stack_error
from lockmigrate.transports.ble_scan import open_stack
from lockmigrate.transports.gatt import Channel, Connection

NO_UNIT = "AA:BB:CC:DD:EE:99"


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def opened(script: Script, **options: Any) -> BleConnection:
    return await open_ble(ADDRESS, stack=script.stack, **options)


# ---- scanning --------------------------------------------------------------------------------------------------------


async def test_a_scan_puts_together_what_a_unit_says_and_keeps_the_latest_strength() -> None:
    script = Script(
        heard=[
            Heard(after_s=0.1, name=None, rssi=-80, uuids=["0000FE24-0000-1000-8000-00805F9B34FB"]),
            Heard(after_s=0.2, rssi=-70, manufacturer_data={0x4C: b"\x02"}),
            Heard(after_s=0.3, name=None, rssi=127, service_data={"0000FE24-0000-1000-8000-00805F9B34FB": b"\x01"}),
            Heard(after_s=0.4, address="AA:BB:CC:DD:EE:02", name="far", rssi=-127),
            Heard(after_s=9.0, address="AA:BB:CC:DD:EE:03", name="too late"),
        ]
    )
    start_s = now_s()
    seen = {unit.address: unit async for unit in scan_ble(5.0, stack=script.stack)}
    assert now_s() - start_s == pytest.approx(5.0)
    assert list(seen) == [ADDRESS, "AA:BB:CC:DD:EE:02"]
    unit = seen[ADDRESS]
    assert (unit.name, unit.rssi_dbm) == (NAME, -70)
    assert unit.service_uuids == ("0000fe24-0000-1000-8000-00805f9b34fb",)
    assert unit.service_data == {"0000fe24-0000-1000-8000-00805f9b34fb": b"\x01"}
    assert unit.manufacturer_data == {0x4C: b"\x02"}
    assert seen["AA:BB:CC:DD:EE:02"].rssi_dbm is None
    assert script.log == ["scan", "scan ended"]
    assert script.released == 0  # a stack that was given stays open


async def test_a_scan_that_is_left_early_ends() -> None:
    script = Script()
    async with contextlib.aclosing(scan_ble(5.0, stack=script.stack)) as sightings:
        async for unit in sightings:
            assert unit.address == ADDRESS
            break
    assert script.log == ["scan", "scan ended"]


async def test_a_name_cannot_command_the_terminal() -> None:
    script = Script(heard=[Heard(name="Lock\x1b[2J\nx")])
    assert (await find_ble(ADDRESS, stack=script.stack)).name == "Lock\ufffd[2J\ufffdx"


# ---- finding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS.lower(), ADDRESS.replace(":", "-"), NAME])
async def test_a_unit_is_found_by_its_address_or_its_whole_name(address: str) -> None:
    script = Script(heard=[Heard(after_s=0.05, address="AA:BB:CC:DD:EE:02", name="Lock_012"), Heard()])
    found = await find_ble(address, stack=script.stack)
    assert (found.address, found.name) == (ADDRESS, NAME)
    assert script.log == ["scan", "scan ended"]


async def test_a_unit_on_a_mac_is_found_by_its_uuid() -> None:
    uuid = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"
    script = Script(heard=[Heard(address=uuid)])
    assert (await find_ble(uuid.lower(), stack=script.stack)).address == uuid


async def test_the_scan_response_is_waited_for_but_not_for_ever() -> None:
    script = Script(heard=[Heard(name=None), Heard(after_s=0.2), Heard(after_s=9.0, rssi=-10)])
    stack = Stack(scanner=script.stack.scanner, client=script.stack.client, options=script.stack.options)
    start_s = now_s()
    assert (await find_ble(ADDRESS, stack=stack)).name == NAME
    assert now_s() - start_s == pytest.approx(0.2)
    script.heard = [Heard(after_s=0.1 * number, name=None) for number in range(1, 99)]
    start_s = now_s()
    assert (await find_ble(ADDRESS, stack=stack)).name is None
    assert now_s() - start_s < 0.5


async def test_two_units_of_one_name_are_told_apart_by_the_person() -> None:
    script = Script(heard=[Heard(), Heard(after_s=1.5, address="AA:BB:CC:DD:EE:02")])
    with pytest.raises(ConnectError, match="2 units in reach call themselves Lock_01") as caught:
        await find_ble(NAME, stack=script.stack)
    assert caught.value.hint is not None
    assert "AA:BB:CC:DD:EE:01, AA:BB:CC:DD:EE:02" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "heard", "platform", "hint"),
    [
        (NO_UNIT, [Heard()], "linux", "lockmigrate scan"),
        (NO_UNIT, [], "linux", "nothing else was seen"),
        ("Nobody", [Heard()], "darwin", "awake"),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", [Heard()], "linux", "macOS"),
    ],
)
async def test_a_unit_that_is_not_seen_is_not_found(
    address: str, heard: list[Heard], platform: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    script = Script(heard=heard)
    start_s = now_s()
    with pytest.raises(ConnectError, match=f"ble://{address} was not seen within 4 s") as caught:
        await open_ble(address, stack=script.stack, timeout_s=4.0)
    assert now_s() - start_s == pytest.approx(4.0)
    assert caught.value.reason is ConnectReason.NOT_FOUND
    assert caught.value.hint is not None
    assert hint in caught.value.hint
    assert script.log == ["scan", "scan ended"]
    assert script.released == 1


# ---- connecting ------------------------------------------------------------------------------------------------------


async def test_an_open_connection_tells_what_the_unit_is_and_has() -> None:
    script = Script()
    connection = await opened(script)
    assert isinstance(connection, Connection)
    assert connection.advertised.name == NAME
    assert connection.characteristics == {uuid for uuid, _ in TABLE}
    link = await connection.link(COMMANDS)
    assert isinstance(link, Link)
    assert link.max_write == 244
    await connection.close()
    assert script.log == ["scan", "scan ended", "connect", "subscribe 0003", "disconnect"]
    assert script.released == 1


async def test_connecting_is_tried_again_after_growing_pauses() -> None:
    script = Script(connects=deque([BleakError("radio noise"), TimeoutError(), BleakError("failed to discover")]))
    start_s = now_s()
    connection = await opened(script)
    assert now_s() - start_s == pytest.approx(0.1 + sum(BACKOFF_S))
    assert script.log.count("connect") == 4
    assert script.log.count("disconnect") == 3  # what a failed try may have left is cleared away
    assert script.log.count("scan") == 1
    await connection.close()


async def test_a_unit_that_the_system_forgot_is_looked_for_again() -> None:
    script = Script(connects=deque([BleakDeviceNotFoundError(ADDRESS, "removed")]))
    connection = await opened(script)
    assert script.log.count("scan") == 2
    await connection.close()


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_unit_that_is_seen_and_cannot_be_connected_to_may_be_busy(tries: int) -> None:
    script = Script(connects=deque([BleakError("le-connection-abort-by-local")] * 9))
    times = "1 try" if tries == 1 else "3 tries"
    with pytest.raises(ConnectError, match=f"was seen, but connecting failed after {times}: le-conn") as caught:
        await opened(script, tries=tries)
    assert caught.value.reason is ConnectReason.FAILED
    assert caught.value.hint is not None
    assert "busy with a phone" in caught.value.hint
    assert script.log.count("connect") == tries
    assert script.released == 1


async def test_a_connection_that_never_comes_about_is_given_up() -> None:
    script = Script(connects=deque(["hang"] * 2))
    start_s = now_s()
    with pytest.raises(ConnectError, match="no answer"):
        await opened(script, tries=2, timeout_s=5.0)
    assert now_s() - start_s < 2 * 8 + 1
    assert script.log.count("disconnect") == 2


async def test_a_connection_that_breaks_while_it_comes_about_is_tried_again_soon() -> None:
    script = Script(connects=deque(["hang up"]))
    start_s = now_s()
    connection = await opened(script, timeout_s=60.0)
    assert now_s() - start_s < 5
    assert await connection.value(INFO) == b""
    await connection.close()


async def test_a_system_that_tries_again_by_itself_is_left_to_it() -> None:
    script = Script(connects=deque(["stumble"]))
    connection = await opened(script)
    assert script.log.count("connect") == 1
    link = await connection.link(COMMANDS)
    script.client.notify(EVENT, b"x")
    assert await link.read() == b"x"
    script.client.lose()
    with pytest.raises(LinkLost):
        await link.read()
    await connection.close()


async def test_bluetooth_that_is_turned_off_meanwhile_is_no_reason_to_try_again() -> None:
    script = Script(connects=deque([BleakDBusError("org.bluez.Error.NotReady", ["Resource Not Ready"])]))
    with pytest.raises(ConnectError) as caught:
        await opened(script)
    assert caught.value.reason is ConnectReason.ADAPTER_OFF
    assert script.log.count("connect") == 1


@pytest.mark.parametrize("after_s", [0.05, 0.15, 1.0])
async def test_opening_that_is_cancelled_leaves_nothing_behind(after_s: float) -> None:
    script = Script(connects=deque([2.0]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after_s):
            await opened(script)
    assert script.log.count("scan") == script.log.count("scan ended")
    assert script.log.count("connect") == script.log.count("disconnect")
    assert script.released == 1
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_linux_learns_the_mtu_late() -> None:
    script = Script(mtu=23)
    stack = Stack(scanner=script.stack.scanner, client=script.stack.client, options=script.stack.options)
    asyncio.get_running_loop().call_later(0.3, setattr, script, "mtu", 185)
    connection = await open_ble(ADDRESS, stack=stack)
    link = await connection.link(COMMANDS)
    assert link.max_write == 182
    script.mtu = 247  # some units agree even later
    await link.write(bytes(244))
    assert link.max_write == 244
    await connection.close()


# ---- links -----------------------------------------------------------------------------------------------------------


async def test_one_notification_is_one_read_in_order_and_cancelled_reads_lose_none() -> None:
    script = Script()
    connection = await opened(script)
    link = await connection.link(COMMANDS)
    loop = asyncio.get_running_loop()
    sent = [bytes([number]) * (number % 5 + 1) for number in range(60)]

    def send(group: list[bytes]) -> None:
        for data in group:
            script.client.notify(EVENT, data)

    for at in range(0, len(sent), 3):
        loop.call_later(0.01 * at, send, sent[at : at + 3])
    received: list[bytes] = []
    while len(received) < len(sent):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0071):
                received.append(await link.read())
    assert received == sent
    await connection.close()


async def test_a_channel_decides_how_it_is_written() -> None:
    script = Script()
    connection = await opened(script)
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    await commands.write(b"\x01")
    await requests.write(b"\x02")
    assert script.log[-2:] == ["write 0002 01", "request 0002 02"]
    assert script.log.count("subscribe 0003") == 1  # both are answered on the same characteristic
    script.client.notify(EVENT, b"\x03")
    assert await commands.read() == await requests.read() == b"\x03"
    await connection.close()


async def test_channels_do_not_hear_each_other_and_one_is_opened_once() -> None:
    script = Script()
    connection = await opened(script)
    first, second = await asyncio.gather(connection.link(COMMANDS), connection.link(OTHERS))
    assert await connection.link(COMMANDS) is first
    script.client.notify(OTHER_EVENT, b"other")
    script.client.notify(EVENT, b"event")
    assert (await first.read(), await second.read()) == (b"event", b"other")
    await connection.close()


async def test_what_comes_before_the_unit_has_confirmed_the_subscription_is_not_missed() -> None:
    async def greet(client: FakeClient, what: str, uuid: str, _data: bytes) -> None:
        if what == "subscribe":
            client.notify(uuid, b"hello")
            await asyncio.sleep(0.5)

    connection = await opened(Script(work=greet))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await connection.link(COMMANDS)
    start_s = now_s()
    link = await connection.link(COMMANDS)  # asked again, it is the same one, subscribed to once
    assert now_s() - start_s == pytest.approx(0.4)
    assert await link.read() == b"hello"
    await connection.close()


async def slow_requests(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
    if what == "request":
        await asyncio.sleep(1.0)


async def test_a_subscription_that_was_cancelled_before_its_turn_is_made_later() -> None:
    script = Script(work=slow_requests)
    connection = await opened(script)
    other = await connection.link(OTHERS)
    writing = asyncio.ensure_future(other.write(b"x"))
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await connection.link(COMMANDS)
    await writing
    assert "subscribe 0003" not in script.log
    link = await connection.link(COMMANDS)
    script.client.notify(EVENT, b"x")
    assert await link.read() == b"x"
    await connection.close()


async def test_a_link_that_is_opened_while_another_is_being_closed_is_not_deaf() -> None:
    script = Script(work=slow_requests)
    connection = await opened(script)
    other, link = await connection.link(OTHERS), await connection.link(COMMANDS)
    writing = asyncio.ensure_future(other.write(b"x"))
    await asyncio.sleep(0.1)
    closing = asyncio.ensure_future(link.close())
    await asyncio.sleep(0.1)
    again = await connection.link(COMMANDS)
    await asyncio.gather(writing, closing)
    script.client.notify(EVENT, b"x")
    assert await again.read() == b"x"
    await connection.close()


async def test_a_subscription_that_is_refused_leaves_no_listener_behind() -> None:
    refusals = deque([True, False])

    async def work(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "subscribe" and refusals.popleft():
            raise BleakGATTProtocolError(0x0F)

    script = Script(work=work)
    connection = await opened(script)
    with pytest.raises(RefusedError, match=r"subscribing to .*: insufficient encryption"):
        await connection.link(COMMANDS)
    link = await connection.link(REQUESTS)
    await link.close()
    assert script.log[-1] == "unsubscribe 0003"
    await connection.close()


@pytest.mark.parametrize(("channel", "limit_bytes"), [(COMMANDS, 244), (REQUESTS, 512)])
async def test_what_does_not_fit_is_refused_and_never_cut(channel: Channel, limit_bytes: int) -> None:
    script = Script()
    connection = await opened(script)
    link = await connection.link(channel)
    await link.write(bytes(limit_bytes))
    sent = len(script.log)
    with pytest.raises(LinkError, match=f"a message of {limit_bytes + 1} bytes cannot be sent: .* {limit_bytes}"):
        await link.write(bytes(limit_bytes + 1))
    assert len(script.log) == sent
    await connection.close()


@pytest.mark.parametrize(
    "channel",
    [
        Channel(write="00000000-0000-0000-0000-000000000000", notify=EVENT, response=True),
        Channel(write=COMMAND, notify="00000000-0000-0000-0000-000000000000", response=True),
        Channel(write=EVENT, notify=EVENT, response=True),
        Channel(write=OTHERS.write, notify=EVENT, response=False),
        Channel(write=COMMAND, notify=INFO, response=True),
    ],
)
async def test_a_channel_that_the_unit_cannot_offer_is_unsupported(channel: Channel) -> None:
    connection = await opened(Script())
    with pytest.raises(Unsupported):
        await connection.link(channel)
    with pytest.raises(Unsupported):
        await connection.value("00000000-0000-0000-0000-000000000000")
    await connection.close()


async def test_closing_a_link_unsubscribes_and_the_connection_stays() -> None:
    script = Script()
    connection = await opened(script)
    link = await connection.link(COMMANDS)
    reading = asyncio.ensure_future(link.read())
    await asyncio.sleep(0)
    await link.close()
    await link.close()
    with pytest.raises(LinkClosed):
        await reading
    with pytest.raises(LinkClosed):
        await link.write(b"x")
    assert script.log[-1] == "unsubscribe 0003"
    again = await connection.link(COMMANDS)
    assert again is not link
    script.client.notify(EVENT, b"x")
    assert await again.read() == b"x"
    await connection.close()


async def test_a_characteristic_that_two_links_hear_stays_subscribed_until_both_are_closed() -> None:
    script = Script()
    connection = await opened(script)
    first, second = await connection.link(COMMANDS), await connection.link(REQUESTS)
    await first.close()
    assert "unsubscribe 0003" not in script.log
    await second.close()
    assert script.log[-1] == "unsubscribe 0003"
    await connection.close()


async def test_nobody_reading_does_not_fill_the_memory() -> None:
    script = Script()
    connection = await opened(script)
    link = await connection.link(COMMANDS)
    for _ in range(MAX_UNREAD + 1):
        script.client.notify(EVENT, b"x")
    with pytest.raises(LinkLost, match="nobody reads"):
        await link.write(b"x")
    await connection.close()


# ---- losing ----------------------------------------------------------------------------------------------------------


def hanging(script: Script, *, lose_after_s: float | None = None) -> None:
    """The unit never answers, and is lost while it is waited for."""

    async def work(client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what in ("subscribe", "unsubscribe"):
            return
        if lose_after_s is not None:
            asyncio.get_running_loop().call_later(lose_after_s, client.lose)
        await asyncio.get_running_loop().create_future()

    script.work = work


async def test_a_loss_ends_every_wait_at_once() -> None:
    script = Script()
    hanging(script, lose_after_s=1.5)
    connection = await opened(script)
    first, second = await connection.link(COMMANDS), await connection.link(OTHERS)
    script.client.notify(EVENT, b"last words")
    start_s = now_s()
    waiting = [first.write(b"\x01"), second.write(b"\x02"), second.read(), connection.value(INFO)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert now_s() - start_s == pytest.approx(1.5)
    assert [type(result) for result in results] == [LinkLost] * 4
    assert await first.read() == b"last words"
    later = [first.read(), first.write(b"x"), connection.link(REQUESTS), connection.value(INFO), connection.pair()]
    results = await asyncio.gather(*later, return_exceptions=True)
    assert [type(result) for result in results] == [LinkLost] * 5
    assert f"ble://{ADDRESS} was lost" in str(results[0])
    await first.close()
    await connection.close()
    with pytest.raises(LinkClosed):
        await first.read()
    assert script.log[-1] == "disconnect"  # on Linux that is what gives the bus back
    assert script.released == 1


async def test_a_back_end_that_does_not_let_go_cannot_hide_a_loss() -> None:
    async def stubborn(client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "request":
            asyncio.get_running_loop().call_later(1.0, client.lose)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30.0)
            await asyncio.sleep(30.0)

    connection = await opened(Script(work=stubborn))
    link = await connection.link(REQUESTS)
    start_s = now_s()
    with pytest.raises(LinkLost):
        await link.write(b"x")
    assert now_s() - start_s == pytest.approx(1.0)
    await connection.close()
    assert now_s() - start_s < 5


async def test_a_subscription_that_the_unit_is_lost_in_is_a_loss() -> None:
    async def work(client: FakeClient, _what: str, _uuid: str, _data: bytes) -> None:
        asyncio.get_running_loop().call_later(0.5, client.lose)
        await asyncio.get_running_loop().create_future()

    connection = await opened(Script(work=work))
    with pytest.raises(LinkLost):
        await connection.link(COMMANDS)
    await connection.close()


@pytest.mark.parametrize(
    "error", [BleakError("nonsense"), BleakError("Could not write: Unreachable"), AssertionError()]
)
async def test_a_failure_just_before_the_news_of_a_loss_is_a_loss(error: Exception) -> None:
    async def work(client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "write":
            asyncio.get_running_loop().call_later(0.1, client.lose)
            raise error

    connection = await opened(Script(work=work))
    link = await connection.link(COMMANDS)
    with pytest.raises(LinkLost):
        await link.write(b"x")
    with pytest.raises(LinkLost):
        await link.read()
    await connection.close()


async def test_a_back_end_that_cancels_its_own_request_means_a_loss() -> None:
    async def work(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "write":
            raise asyncio.CancelledError

    connection = await opened(Script(work=work))
    link = await connection.link(COMMANDS)
    with pytest.raises(LinkLost):
        await link.write(b"x")
    await connection.close()


async def test_a_refused_request_leaves_the_connection_usable() -> None:
    async def work(_client: FakeClient, what: str, _uuid: str, data: bytes) -> None:
        if what == "request" and data == b"no":
            raise BleakGATTProtocolError(0x81)

    connection = await opened(Script(work=work))
    link = await connection.link(REQUESTS)
    start_s = now_s()
    with pytest.raises(RefusedError, match="0x81") as caught:
        await link.write(b"no")
    assert now_s() == start_s  # no need to wait for the news of a loss
    assert caught.value.status == 0x81
    await link.write(b"yes")
    await connection.close()


# ---- cancelling ------------------------------------------------------------------------------------------------------


async def test_the_next_request_waits_for_one_that_was_cancelled_under_way() -> None:
    done: list[bytes] = []

    async def work(_client: FakeClient, what: str, _uuid: str, data: bytes) -> None:
        if what == "request":
            await asyncio.sleep(1.0)
            done.append(data)

    script = Script(work=work)
    connection = await opened(script)
    link = await connection.link(REQUESTS)
    start_s = now_s()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await link.write(b"\x01")
    await link.write(b"\x02")
    assert now_s() - start_s == pytest.approx(2.0)
    assert done == [b"\x01", b"\x02"]
    await connection.close()


async def test_a_cancelled_request_that_fails_later_is_no_news() -> None:
    async def work(_client: FakeClient, what: str, _uuid: str, data: bytes) -> None:
        if what == "request":
            await asyncio.sleep(1.0)
            if data == b"\x01":
                raise BleakGATTProtocolError(0x80)

    connection = await opened(Script(work=work))
    link = await connection.link(REQUESTS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await link.write(b"\x01")
    await link.write(b"\x02")
    await connection.close()


async def test_a_write_that_is_cancelled_before_its_turn_is_not_sent() -> None:
    async def work(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "request":
            await asyncio.sleep(1.0)

    script = Script(work=work)
    connection = await opened(script)
    link = await connection.link(REQUESTS)
    first = asyncio.ensure_future(link.write(b"\x01"))
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await link.write(b"\x02")
    await first
    await link.write(b"\x03")
    assert [line for line in script.log if line.startswith("request")] == ["request 0002 01", "request 0002 03"]
    await connection.close()


async def test_a_loss_ends_what_waits_for_a_cancelled_request() -> None:
    script = Script()
    hanging(script, lose_after_s=3.0)
    connection = await opened(script)
    link = await connection.link(COMMANDS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await link.write(b"\x01")
    start_s = now_s()
    with pytest.raises(LinkLost):
        await link.write(b"\x02")
    assert now_s() - start_s == pytest.approx(2.0)
    await connection.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


# ---- closing ---------------------------------------------------------------------------------------------------------


async def test_our_own_close_ends_every_wait_as_closed() -> None:
    script = Script()
    hanging(script)
    connection = await opened(script)
    link = await connection.link(COMMANDS)
    waiting = [asyncio.ensure_future(it) for it in (link.write(b"\x01"), link.read(), connection.value(INFO))]
    await asyncio.sleep(0.1)
    await asyncio.gather(connection.close(), connection.close())
    await connection.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    later = [link.read(), link.write(b"x"), connection.link(REQUESTS), connection.value(INFO), connection.pair()]
    results += await asyncio.gather(*later, return_exceptions=True)
    assert [type(result) for result in results] == [LinkClosed] * 8
    assert script.log.count("disconnect") == 1
    assert script.released == 1


async def test_a_system_that_never_confirms_the_end_is_not_waited_for_for_ever() -> None:
    script = Script(disconnect_hangs=True)
    connection = await opened(script)
    start_s = now_s()
    await connection.close()
    assert now_s() - start_s == pytest.approx(DISCONNECT_LIMIT_S)
    assert script.released == 1


async def test_a_cancelled_close_closes_all_the_same() -> None:
    script = Script(disconnect_hangs=True)
    connection = await opened(script)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await connection.close()
    await connection.close()
    assert script.released == 1


# ---- pairing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, NotImplementedError("Pairing is not available in Core Bluetooth.")])
async def test_pairing_is_asked_of_the_system_or_left_to_it(error: Exception | None) -> None:
    async def work(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "pair" and error is not None:
            raise error

    script = Script(work=work)
    connection = await opened(script)
    await connection.pair()
    assert script.log[-1] == "pair"
    await connection.close()


async def test_pairing_that_the_unit_refuses_hangs_in_or_hangs_up_over_is_refused() -> None:
    async def refuse(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        raise BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"])

    async def hang(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        await asyncio.get_running_loop().create_future()

    async def hang_up(client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        client.lose()
        raise BleakError("disconnected")

    async def vanish(client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        client.lose()
        await asyncio.get_running_loop().create_future()

    for work, words, takes_s in (
        (refuse, "Authentication Failed", 0),
        (hang, "no answer", PAIR_LIMIT_S),
        (hang_up, "disconnected|lost", 0),
        (vanish, "lost", 0),
    ):
        connection = await opened(Script(work=work))
        start_s = now_s()
        with pytest.raises(RefusedError, match=f"pairing failed: .*({words})") as caught:
            await connection.pair()
        assert now_s() - start_s == pytest.approx(takes_s)
        assert caught.value.hint is not None
        assert "connect again" in caught.value.hint
        await connection.close()


# ---- words for every error -------------------------------------------------------------------------------------------


def unavailable(reason: str) -> BleakError:
    return BleakBluetoothNotAvailableError("as bleak says", BleakBluetoothNotAvailableReason[reason])


def hresult(number: int) -> OSError:
    error = OSError("The device is not ready for use")
    error.winerror = number  # type: ignore[attr-defined]
    return error


DENIED = BleakDBusError("org.freedesktop.DBus.Error.AccessDenied", ["Rejected send message, 2 matched rules"])
NO_BLUEZ = BleakDBusError(
    "org.freedesktop.DBus.Error.ServiceUnknown", ["The name org.bluez was not provided by any .service files"]
)


@pytest.mark.parametrize(
    ("error", "platform", "reason", "words", "hint"),
    [
        (unavailable("NO_BLUETOOTH"), "linux", ConnectReason.NOT_FOUND, "no Bluetooth LE adapter", "bluetoothctl list"),
        (unavailable("NO_BLUETOOTH"), "darwin", ConnectReason.NOT_FOUND, "no Bluetooth LE adapter", "this Mac"),
        (unavailable("NO_BLE_CENTRAL_ROLE"), "win32", ConnectReason.NOT_FOUND, "no Bluetooth LE", "device manager"),
        (BleakError("adapter 'hci0' not found"), "linux", ConnectReason.NOT_FOUND, "no Bluetooth LE", "plug in"),
        (unavailable("POWERED_OFF"), "linux", ConnectReason.ADAPTER_OFF, "turned off", "rfkill unblock"),
        (unavailable("POWERED_OFF"), "darwin", ConnectReason.ADAPTER_OFF, "turned off", "System Settings"),
        (unavailable("POWERED_OFF"), "win32", ConnectReason.ADAPTER_OFF, "turned off", "Settings, Bluetooth"),
        (hresult(-2147020577), "win32", ConnectReason.ADAPTER_OFF, "turned off", "Settings, Bluetooth"),
        (
            BleakError("Failed to start scanner. Is Bluetooth turned on?"),
            "win32",
            ConnectReason.ADAPTER_OFF,
            "turned off",
            "Settings",
        ),
        (
            BleakDBusError("org.bluez.Error.NotReady", ["Resource Not Ready"]),
            "linux",
            ConnectReason.ADAPTER_OFF,
            "turned off",
            "bluetoothctl power on",
        ),
        (unavailable("DENIED_BY_USER"), "darwin", ConnectReason.NO_PERMISSION, "no permission", "Privacy & Security"),
        (unavailable("DENIED_BY_SYSTEM"), "linux", ConnectReason.NO_PERMISSION, "no permission", "group bluetooth"),
        (unavailable("DENIED_BY_UNKNOWN"), "win32", ConnectReason.NO_PERMISSION, "no permission", "Radios"),
        (DENIED, "linux", ConnectReason.NO_PERMISSION, "no permission", "usermod -aG bluetooth"),
        (PermissionError(13, "Permission denied"), "linux", ConnectReason.NO_PERMISSION, "no permission", "usermod"),
        (unavailable("UNKNOWN"), "darwin", ConnectReason.FAILED, "as bleak says", "System Settings"),
        (NO_BLUEZ, "linux", ConnectReason.ADAPTER_OFF, "bluetoothd is not running", "systemctl start bluetooth"),
        (FileNotFoundError(2, "No such file"), "linux", ConnectReason.ADAPTER_OFF, "no D-Bus system bus", "/run/dbus"),
        (
            ConnectionRefusedError(111, "Refused"),
            "linux",
            ConnectReason.ADAPTER_OFF,
            "no D-Bus system bus",
            "/run/dbus",
        ),
        (BleakError("Bleak requires BlueZ >= 5.55."), "linux", ConnectReason.FAILED, "BlueZ >= 5.55", None),
        (BleakError("Unsupported platform: Plan 9"), "plan9", ConnectReason.FAILED, "Plan 9", None),
        (TimeoutError(), "darwin", ConnectReason.FAILED, "did not start in time", "Privacy & Security"),
    ],
)
async def test_bluetooth_that_cannot_be_used_has_its_reason_and_its_hint(
    error: Exception,
    platform: str,
    reason: ConnectReason,
    words: str,
    hint: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for attempt in (
        open_ble(ADDRESS, stack=Script(start_error=error).stack),
        find_ble(ADDRESS, stack=Script(start_error=error).stack),
        anext(scan_ble(1.0, stack=Script(start_error=error).stack)),
    ):
        with pytest.raises(ConnectError, match=words) as caught:
            await attempt
        assert caught.value.reason is reason
        assert (hint in caught.value.hint) if hint and caught.value.hint else caught.value.hint is hint


async def test_a_controller_of_its_own_needs_bumble_and_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for hci, kind in (("no such thing", TargetError), ("tcp-client:127.0.0.1:1", ConnectError)):
        with pytest.raises(kind):
            await open_stack(hci)
    monkeypatch.setitem(sys.modules, "lockmigrate.transports.bumble", None)
    with pytest.raises(ConfigError, match="Bumble") as caught:
        await open_ble(ADDRESS, hci="usb:0")
    assert "lockmigrate[sim]" in str(caught.value.hint)


def test_what_a_controller_raises_is_one_of_ours() -> None:
    error = stack_error("usb:7", OSError(19, "No such device"))
    assert isinstance(error, ConnectError)
    assert "usb:7 cannot be opened: [Errno 19]" in str(error)


def test_errors_of_our_own_stay_what_they_are() -> None:
    ours = ConfigError("ours")
    assert scan_error(ours) is stack_error("usb:0", ours) is ours


@pytest.mark.parametrize("code", [*sorted(ATT_ERRORS), 0x80, 0x9F, 0xA0])
def test_every_att_error_has_words(code: int) -> None:
    error = request_error("a read of x", BleakGATTProtocolError(code))
    assert isinstance(error, RefusedError)
    assert error.status == code
    assert f"ATT error {code:#04x}" in str(error)
    assert isinstance(error, Unsupported) == (code in (0x01, 0x02, 0x03, 0x06))
    assert (error.hint is not None and "paired" in error.hint) == (code in (0x05, 0x08, 0x0C, 0x0F))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (BleakCharacteristicNotFoundError(INFO), Unsupported, "no characteristic"),
        (NotImplementedError(), Unsupported, "cannot do a write"),
        (BleakDBusError("org.bluez.Error.NotSupported", ["Operation is not supported"]), Unsupported, "cannot do"),
        (BleakDBusError("org.bluez.Error.NotPermitted", ["Not paired"]), RefusedError, "Not paired"),
        (BleakError("Could not write: Access Denied"), RefusedError, "access denied"),
        (
            BleakDBusError("org.bluez.Error.Failed", ["Operation failed"]),
            LinkError,
            "a write failed: .*Operation failed",
        ),
        (BleakError("something else\nin two lines"), LinkError, "a write failed: something else in two lines"),
        (TimeoutError(), LinkError, "was not answered"),
        (OSError(5, "Input/output error"), LinkError, "Input/output error"),
        (ValueError(), LinkError, "a write failed: ValueError"),
    ],
)
async def test_every_failure_of_a_request_is_one_of_ours(
    error: Exception, kind: type[LockmigrateError], words: str
) -> None:
    assert type(request_error("a write", error)) is kind
    with pytest.raises(kind, match=words):
        raise request_error("a write", error)

    async def work(_client: FakeClient, what: str, _uuid: str, _data: bytes) -> None:
        if what == "request":
            raise error

    connection = await opened(Script(work=work))
    link = await connection.link(REQUESTS)
    with pytest.raises(LockmigrateError) as caught:
        await link.write(b"x")
    assert type(caught.value) is kind
    await connection.close()


# ---- the real thing, as far as this machine has it -------------------------------------------------------------------

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a D-Bus under its Bluetooth")
FLAGS = {uuid: list(properties) for uuid, properties in TABLE}


@on_linux
@pytest.mark.real_time
async def test_linux_without_a_bus_or_without_bluetoothd_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'nothing'}")
    with pytest.raises(ConnectError, match="no D-Bus system bus"):
        await open_ble(ADDRESS)
    with system_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        with pytest.raises(ConnectError, match="bluetoothd is not running"):
            await find_ble(ADDRESS)


@on_linux
@pytest.mark.real_time
@pytest.mark.parametrize(
    ("powered", "trouble", "policy", "reason", "words"),
    [
        (None, "", "", ConnectReason.NOT_FOUND, "no Bluetooth LE adapter"),
        (False, "", "", ConnectReason.ADAPTER_OFF, "turned off"),
        (True, "NotReady", "", ConnectReason.ADAPTER_OFF, "turned off"),
        (True, "InProgress", "", ConnectReason.BUSY, "another program"),
        (True, "Failed", "", ConnectReason.FAILED, "as bluetoothd says"),
        (True, "", FORBID_BLUEZ, ConnectReason.NO_PERMISSION, "no permission"),
    ],
)
async def test_bluetooth_on_linux_that_is_missing_off_busy_or_forbidden_says_so(
    powered: bool | None,
    trouble: str,
    policy: str,
    reason: ConnectReason,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = {"StartDiscovery": [[trouble, "as bluetoothd says"]]} if trouble else {}
    with system_bus(tmp_path, policy) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        async with Bluetoothd(powered=powered, errors=errors).running(address):
            with pytest.raises(ConnectError, match=words) as caught:
                await find_ble(ADDRESS)
    assert caught.value.reason is reason


@on_linux
@pytest.mark.real_time
async def test_a_conversation_through_bleaks_own_back_end_for_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {
        "Connect": [["Failed", "le-connection-refused"]],
        "ReadValue": [["NotPermitted", "Read not permitted"], ["Failed", "Operation failed with ATT error: 0x85"]],
        "WriteValue": [["NotPermitted", "Not paired"], ["Failed", "Not connected"]],
    }
    with system_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        async with Bluetoothd(unit=ADDRESS, characteristics=FLAGS, errors=errors).running(address) as bluez:
            asyncio.get_running_loop().call_later(0.4, bluez.learn_mtu, 247)
            connection = await open_ble(ADDRESS)
            assert bluez.calls.count("Connect") == 2
            assert (connection.advertised.name, connection.advertised.rssi_dbm) == (NAME, -55)
            assert connection.characteristics == set(FLAGS)
            commands, requests = await connection.link(COMMANDS), await connection.link(OTHERS)
            assert commands.max_write == 244
            for kind in (Unsupported, RefusedError):
                with pytest.raises(RefusedError) as refused:
                    await connection.value(INFO)
                assert type(refused.value) is kind
            assert refused.value.status == 0x85
            assert await connection.value(INFO) == INFO.encode()
            with pytest.raises(RefusedError, match="Not paired"):
                await requests.write(b"\x01")
            bluez.notify(EVENT, b"\x02")
            bluez.notify(OTHER_EVENT, b"\x03")
            assert (await commands.read(), await requests.read()) == (b"\x02", b"\x03")
            with pytest.raises(LinkLost):  # before anybody said so otherwise
                await requests.write(b"\x04")
            await connection.close()
            assert bluez.calls[-1] == "Disconnect"

            connection = await open_ble(ADDRESS)
            requests = await connection.link(OTHERS)
            await requests.write(bytes(300))
            assert bluez.written[-1] == (OTHERS.write, bytes(300))
            bluez.silent.add("WriteValue")
            asyncio.get_running_loop().call_later(0.1, bluez.lose)
            start_s = now_s()
            with pytest.raises(LinkLost):
                await requests.write(b"\x05")
            assert now_s() - start_s < 0.5
            await connection.close()

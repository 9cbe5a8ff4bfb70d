"""The memory connection: a radio without a radio, with the order, the time, the endings and the faults of one."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from ble_echo import (
    ADDRESS,
    ANSWER,
    CLOSED,
    CLOSED_CODE,
    COMMANDS,
    COMPANY,
    EVENT,
    INFO,
    NAME,
    REQUESTS,
    SERVICE,
    EchoUnit,
    burst,
    numbered,
)

from lockmigrate.errors import ConnectError, ConnectReason, LinkClosed, LinkError, LinkLost, RefusedError, Unsupported
from lockmigrate.transports import Link
from lockmigrate.transports.advertising import parse_advertisement, printable, structures
from lockmigrate.transports.gatt import Channel, Connection, Emitted, GattDevice
from lockmigrate.transports.memory import LinkFaults
from lockmigrate.transports.memory_ble import ConnectionFaults, MemoryConnection


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def read_all(link: Link) -> list[bytes]:
    """Every notification until the connection is lost or stays silent for a virtual minute."""
    got: list[bytes] = []
    with contextlib.suppress(LinkLost, TimeoutError):
        async with asyncio.timeout(60):
            while True:
                got.append(await link.read())
    return got


# ---- a connection ----------------------------------------------------------------------------------------------------


async def test_it_is_a_connection_to_a_unit() -> None:
    unit = EchoUnit()
    as_device: GattDevice = unit
    connection = MemoryConnection.open(as_device)
    assert isinstance(connection, Connection)
    seen = connection.advertised
    assert (seen.address, seen.name, seen.service_uuids) == (ADDRESS, NAME, (SERVICE,))
    assert seen.manufacturer_data == {COMPANY: b"\x2a"}
    assert {EVENT, INFO, ANSWER} < connection.characteristics
    link = await connection.link(COMMANDS)
    assert isinstance(link, Link)
    assert await connection.link(COMMANDS) is link
    assert await connection.value(INFO) == b"echo 1"
    await connection.pair()
    await connection.close()
    await connection.close()
    assert unit.calls == ["connected", "subscribed 0003", "disconnected"]


@pytest.mark.parametrize(
    ("wanted", "unit_wants", "agreed"), [(247, 100, 100), (64, 247, 64), (5, 247, 23), (23, 23, 23)]
)
async def test_both_sides_agree_on_the_smaller_mtu(wanted: int, unit_wants: int, agreed: int) -> None:
    unit = EchoUnit(max_mtu=unit_wants)
    connection = MemoryConnection.open(unit, mtu=wanted)
    link = await connection.link(COMMANDS)
    assert unit.agreed_mtu == connection.mtu == agreed
    assert link.max_write == agreed - 3
    await link.write(b"E" + bytes(agreed - 4))
    assert await link.read() == bytes(agreed - 4)
    with pytest.raises(LinkError, match=f"a message of {agreed - 2} bytes cannot be sent"):
        await link.write(b"E" + bytes(agreed - 3))
    await connection.close()


async def test_a_request_longer_than_the_mtu_arrives_as_one_write() -> None:
    unit = EchoUnit(max_mtu=23)
    connection = MemoryConnection.open(unit)
    link = await connection.link(REQUESTS)
    await link.write(b"Q" + bytes(511))
    assert unit.heard == [b"Q" + bytes(511)]
    with pytest.raises(LinkError, match="one attribute holds 512"):
        await link.write(b"Q" + bytes(512))
    await connection.close()


async def test_notifications_arrive_when_they_are_due_each_by_itself_and_in_order() -> None:
    connection = MemoryConnection.open(EchoUnit(max_mtu=23))
    link = await connection.link(COMMANDS)
    start_s = now_s()
    await link.write(b"D" + (2500).to_bytes(2, "big") + bytes(range(15)))
    await link.write(b"E" + b"behind")
    assert await link.read() == bytes(range(15))
    assert now_s() - start_s == pytest.approx(2.5)
    assert await link.read() == b"behind"
    await link.write(burst(100, 20))
    assert [await link.read() for _ in range(100)] == [numbered(number, 20) for number in range(100)]
    await connection.close()


async def test_the_unit_is_called_when_it_wants_to_be() -> None:
    unit = EchoUnit()
    connection = MemoryConnection.open(unit)
    link = await connection.link(COMMANDS)
    await link.write(b"T" + (700).to_bytes(2, "big"))
    start_s = now_s()
    assert await link.read() == b"tick"
    assert now_s() - start_s == pytest.approx(0.7)
    await link.write(b"T" + (700).to_bytes(2, "big"))
    await connection.close()
    await asyncio.sleep(10)
    assert unit.due_s() is not None  # nobody is its clock any more
    again = MemoryConnection.open(unit)
    assert unit.due_s() is None  # but it is told that time has passed before it is asked what it advertises
    await again.close()


async def test_a_cancelled_read_loses_nothing() -> None:
    connection = MemoryConnection.open(EchoUnit(max_mtu=23))
    link = await connection.link(COMMANDS)
    await link.write(b"D\x03\xe8abc")
    received: list[bytes] = []
    for _ in range(40):  # deadlines that fall before, at and after the arrival
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                received.append(await link.read())
    assert received == [b"abc"]
    await connection.close()


async def test_what_was_not_read_can_be_forgotten() -> None:
    connection = MemoryConnection.open(EchoUnit())
    link = await connection.link(COMMANDS)
    await link.write(burst(3, 10))
    assert link.discard() == 30
    assert link.discard() == 0
    await link.write(b"Enew")
    assert await link.read() == b"new"
    assert link.unread == 0
    await connection.close()


async def test_what_nobody_subscribed_to_is_not_sent_and_a_closed_link_hears_nothing() -> None:
    unit = EchoUnit()
    connection = MemoryConnection.open(unit)
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    await commands.close()
    await commands.close()
    assert unit.calls[-1] == "unsubscribed 0003"
    with pytest.raises(LinkClosed):
        await commands.read()
    with pytest.raises(LinkClosed):
        await commands.write(b"E1")
    await requests.write(b"T\x00\x0a")  # ticks on the other characteristic
    await asyncio.sleep(1.0)
    await requests.write(b"E1")
    assert await requests.read() == b"1"
    assert connection.chunks == 1
    again = await connection.link(COMMANDS)
    await again.write(b"E2")
    assert await again.read() == b"2"
    await connection.close()


async def test_a_refusal_is_heard_of_requests_and_reads_but_not_of_commands() -> None:
    connection = MemoryConnection.open(EchoUnit())
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    await commands.write(b"R\x81")
    for code, kind in ((0x81, RefusedError), (0x0F, RefusedError), (0x03, Unsupported)):
        with pytest.raises(RefusedError, match=f"{code:#04x}") as caught:
            await requests.write(b"R" + bytes([code]))
        assert (type(caught.value), caught.value.status) == (kind, code)
    with pytest.raises(RefusedError) as caught:
        await connection.value(CLOSED)
    assert caught.value.status == CLOSED_CODE
    await requests.write(b"Estill here")
    assert await requests.read() == b"still here"
    await connection.close()


@pytest.mark.parametrize(
    "channel",
    [
        Channel(write="00000000-0000-0000-0000-000000000000", notify=EVENT, response=True),
        Channel(write=COMMANDS.write, notify="00000000-0000-0000-0000-000000000000", response=False),
        Channel(write=COMMANDS.write, notify=EVENT, response=True),
        Channel(write=REQUESTS.write, notify=ANSWER, response=False),
        Channel(write=COMMANDS.write, notify=INFO, response=False),
    ],
)
async def test_a_channel_that_the_unit_cannot_offer_is_unsupported(channel: Channel) -> None:
    connection = MemoryConnection.open(EchoUnit())
    with pytest.raises(Unsupported):
        await connection.link(channel)
    with pytest.raises(Unsupported):
        await connection.value("00000000-0000-0000-0000-000000000000")
    await connection.close()


async def test_a_conversation_with_an_instant_unit_lets_deadlines_in() -> None:
    connection = MemoryConnection.open(EchoUnit())
    link = await connection.link(COMMANDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            for _ in range(1000):
                await link.write(b"Q")
    assert connection.writes < 10
    await connection.close()


# ---- one client at a time --------------------------------------------------------------------------------------------


async def test_a_unit_has_one_client_at_a_time_and_the_next_one_after_it() -> None:
    unit = EchoUnit()
    first = MemoryConnection.open(unit)
    with pytest.raises(ConnectError) as caught:
        MemoryConnection.open(unit)
    assert caught.value.reason is ConnectReason.BUSY
    await first.close()
    second = MemoryConnection.open(unit, faults=LinkFaults(cut_after_writes=0))
    link = await second.link(COMMANDS)
    with pytest.raises(LinkLost):
        await link.write(b"E1")
    third = MemoryConnection.open(unit)
    assert await third.value(INFO) == b"echo 3"
    await second.close()  # late, and no harm to the third
    assert await third.value(INFO) == b"echo 3"
    await third.close()
    assert unit.calls.count("connected") == unit.calls.count("disconnected") == 3


async def test_a_unit_that_does_not_advertise_is_not_found() -> None:
    unit = EchoUnit()
    unit.is_connected = True
    with pytest.raises(ConnectError) as caught:
        MemoryConnection.open(unit)
    assert caught.value.reason is ConnectReason.NOT_FOUND


async def test_an_advertisement_that_no_radio_sends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = EchoUnit()
    monkeypatch.setattr(unit, "advertisement", lambda: bytes(32))
    with pytest.raises(ConnectError, match="32 bytes"):
        MemoryConnection.open(unit)


async def test_a_notification_that_no_radio_sends_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = EchoUnit()
    monkeypatch.setattr(unit, "write", lambda _uuid, data, now: [Emitted(at_s=now, uuid=EVENT, data=data * 50)])
    connection = MemoryConnection.open(unit)
    link = await connection.link(COMMANDS)
    await link.write(b"12345")
    with pytest.raises(LinkLost, match="250 bytes at once where 244 fit"):
        await link.read()
    await connection.close()


# ---- endings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [b"H", b"L"])
async def test_a_unit_that_hangs_up_or_goes_out_of_reach_is_lost_everywhere(how: bytes) -> None:
    unit = EchoUnit()
    connection = MemoryConnection.open(unit)
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    reading = asyncio.ensure_future(requests.read())
    await commands.write(b"Elast words")
    await commands.write(how)
    with pytest.raises(LinkLost) as caught:
        await reading
    assert caught.value.hint is not None
    assert "out of reach" in caught.value.hint
    assert await commands.read() == b"last words"
    later = [commands.read(), commands.write(b"E1"), connection.link(COMMANDS), connection.value(INFO)]
    results = await asyncio.gather(*later, return_exceptions=True)
    assert [type(result) for result in results] == [LinkLost] * 4
    assert not unit.is_connected
    await commands.close()
    await connection.close()
    with pytest.raises(LinkClosed):
        await requests.read()


async def test_our_own_close_ends_every_wait_as_closed_and_drops_what_is_on_its_way() -> None:
    unit = EchoUnit()
    connection = MemoryConnection.open(unit)
    link = await connection.link(COMMANDS)
    await link.write(b"D\x03\xe8late")
    reading = asyncio.ensure_future(link.read())
    await asyncio.sleep(0.5)
    await connection.close()
    with pytest.raises(LinkClosed):
        await reading
    later = [link.write(b"E1"), connection.link(REQUESTS), connection.value(INFO), connection.pair()]
    results = await asyncio.gather(*later, return_exceptions=True)
    assert [type(result) for result in results] == [LinkClosed] * 4
    await asyncio.sleep(10)
    assert connection.chunks == 0


# ---- faults ----------------------------------------------------------------------------------------------------------


async def conversation(unit: EchoUnit, faults: LinkFaults | None = None) -> tuple[list[bytes], MemoryConnection]:
    """Five writes of three answers each; what was read before the loss, if there is one."""
    connection = MemoryConnection.open(unit, faults=faults, mtu=23)
    try:
        link = await connection.link(COMMANDS)
        with contextlib.suppress(LinkLost):
            for number in range(5):
                await link.write(burst(3, 4 + number))
        got = await read_all(link)
    except LinkLost:
        got = []
    await connection.close()
    return got, connection


async def test_without_faults_everything_is_counted() -> None:
    got, connection = await conversation(EchoUnit())
    assert len(got) == connection.chunks == 15
    assert (connection.writes, connection.requests) == (5, 6)


async def test_a_cut_after_any_write_lets_exactly_those_through() -> None:
    for cut in range(6):
        unit = EchoUnit()
        got, connection = await conversation(unit, LinkFaults(cut_after_writes=cut))
        assert len(unit.heard) == cut
        assert len(got) == 3 * cut
        assert connection.writes == cut
        assert not unit.is_connected


async def test_a_cut_after_any_notification_lets_exactly_those_through() -> None:
    for cut in range(16):
        unit = EchoUnit()
        got, connection = await conversation(unit, LinkFaults(cut_after_chunks=cut))
        assert len(got) == connection.chunks == cut
        assert not unit.is_connected


async def test_a_cut_after_any_request_counts_subscriptions_too() -> None:
    for cut in range(7):
        unit = EchoUnit()
        _, connection = await conversation(unit, ConnectionFaults(cut_after_requests=cut))
        assert connection.requests == cut
        assert len(unit.heard) == max(0, cut - 1)
        assert unit.calls.count("subscribed 0003") == min(1, cut)
        assert not unit.is_connected


async def test_what_goes_over_a_number_of_bytes_does_not_arrive_at_all() -> None:
    unit = EchoUnit()
    await conversation(unit, LinkFaults(cut_after_written_bytes=20))
    assert sum(map(len, unit.heard)) == 14
    got, _ = await conversation(EchoUnit(), LinkFaults(cut_after_read_bytes=18))
    assert sum(map(len, got)) == 17
    got, _ = await conversation(EchoUnit(), LinkFaults(cut_after_read_bytes=12))
    assert sum(map(len, got)) == 12


async def test_a_lost_write_or_notification_is_missing_and_nothing_else() -> None:
    unit = EchoUnit()
    got, connection = await conversation(unit, LinkFaults(lose_write=2))
    assert (len(unit.heard), len(got), connection.writes) == (4, 12, 5)
    got, connection = await conversation(EchoUnit(), LinkFaults(lose_chunk=2))
    assert (len(got), connection.chunks) == (14, 15)


async def test_a_delayed_notification_delays_all_behind_it() -> None:
    connection = MemoryConnection.open(EchoUnit(), faults=LinkFaults(delay_chunk=2, delay_s=3.0))
    link = await connection.link(COMMANDS)
    start_s = now_s()
    await link.write(burst(3, 4))
    times = []
    for number in range(3):
        assert await link.read() == numbered(number, 4)
        times.append(now_s() - start_s)
    assert times == pytest.approx([0, 3.0, 3.0])
    await connection.close()


# ---- advertisements --------------------------------------------------------------------------------------------------


def test_every_kind_of_structure_is_read() -> None:
    uuid = bytes.fromhex(SERVICE.replace("-", ""))[::-1]
    data = (
        b"\x02\x01\x06"
        b"\x05\x03\x24\xfe\x0f\x18"
        b"\x05\x05\x01\x02\x03\x04"
        + bytes([17, 0x07])
        + uuid
        + b"\x05\x16\x24\xfe\xaa\xbb"
        + bytes([18, 0x21])
        + uuid
        + b"\xcc"
        + b"\x05\xff\x4c\x00\x02\x15\x05\x08Lock\x09\x09Lock \xe9\x94"
    )
    seen = parse_advertisement(data, address=ADDRESS)
    assert seen.service_uuids == (
        "0000fe24-0000-1000-8000-00805f9b34fb",
        "0000180f-0000-1000-8000-00805f9b34fb",
        "04030201-0000-1000-8000-00805f9b34fb",
        SERVICE,
    )
    assert seen.service_data == {"0000fe24-0000-1000-8000-00805f9b34fb": b"\xaa\xbb", SERVICE: b"\xcc"}
    assert seen.manufacturer_data == {0x4C: b"\x02\x15"}
    assert seen.name == "Lock"  # the complete one is cut, and left out
    assert parse_advertisement(data, address=ADDRESS, name="Lock 01").name == "Lock 01"


def test_no_advertisement_is_too_odd_to_be_read() -> None:
    whole = b"\x02\x01\x06\x05\x03\x24\xfe\x0f\x18\x05\xff\x4c\x00\x02\x15\x03\x08\xff\xfe"
    for cut in range(len(whole) + 1):
        for at in range(0, cut, 3):
            for value in (0, 1, 2, 0xFF):
                odd = bytearray(whole[:cut])
                odd[at] = value
                parse_advertisement(bytes(odd), address=ADDRESS)
    assert list(structures(b"\x00\x02\x01\x06")) == []
    assert list(structures(b"\x01\x09\x02\x01")) == [(9, b"")]
    assert parse_advertisement(b"\x04\x03\x01\x02\x03", address=ADDRESS).service_uuids == ()


def test_a_name_cannot_command_the_terminal() -> None:
    assert printable("Türschloss 锁\x1b[2J") == "Türschloss 锁\ufffd[2J"
    assert parse_advertisement(b"\x04\x09a\x07\xff", address=ADDRESS).name == "a\ufffd\ufffd"

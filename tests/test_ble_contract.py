"""One conversation over every way to a unit: through memory, over a simulated radio in this process, and in two
processes; the part of it that a plain link can do also over memory, a pseudo terminal and a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

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

from lockmigrate.errors import ConnectError, LinkClosed, LinkError, LinkLost, RefusedError
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.sim.serve_ble import HciServer, serve_hci
from lockmigrate.transports import Link, Outgoing
from lockmigrate.transports.ble import Stack, open_ble, scan_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner
from lockmigrate.transports.gatt import Connection
from lockmigrate.transports.memory import LinkFaults, MemoryLink
from lockmigrate.transports.memory_ble import ConnectionFaults, MemoryConnection
from lockmigrate.transports.serial import open_serial

PROMPT_S = 2.0
"""Generous upper bound for what happens "at once" on a busy machine."""
LIMIT_S = 60.0
"""Nothing here may take longer, hang above all; mostly on a clock that jumps."""
HERE = Path(__file__).parent
Open = Callable[[], Awaitable[Connection]]

# ---- ways to a unit --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def through_memory() -> AsyncIterator[Open]:
    unit = EchoUnit()

    async def open_it() -> Connection:
        return MemoryConnection.open(unit)

    yield open_it
    assert unit.calls.count("connected") == unit.calls.count("disconnected")


class OnAir:
    """An echo on a radio of this process."""

    def __init__(self, *, interval_s: float = 0.0, encrypted: tuple[str, ...] = ()) -> None:
        self.unit = EchoUnit()
        self._encrypted = encrypted
        self.radio = Radio(interval_s=interval_s)
        self._number = itertools.count(1)

    async def __aenter__(self) -> OnAir:
        self._peripheral = Peripheral(self.unit, self.radio, encrypted=self._encrypted)
        await self._peripheral.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._peripheral.stop()
        assert self.unit.calls.count("connected") == self.unit.calls.count("disconnected")

    async def stack(self) -> Stack:
        """A new client's stack."""
        host = await BumbleHost.on_link(self.radio, name=f"client-{next(self._number)}")
        return Stack(
            scanner=BumbleScanner, client=BumbleClient, options={"host": host}, settled=True, release=host.release
        )

    async def open(self) -> Connection:
        """Connect with a new client."""
        return await open_ble(ADDRESS, stack=await self.stack())


@contextlib.asynccontextmanager
async def in_process() -> AsyncIterator[Open]:
    async with OnAir() as air:
        yield air.open


class Child:
    """A program of ours in another process."""

    def __init__(self, role: str, argument: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "ble_echo.py"), role, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    async def said(self) -> str:
        """The first line on its standard output."""
        assert self.process.stdout is not None
        line: str = await asyncio.to_thread(self.process.stdout.readline)
        return line.strip()

    async def ended(self) -> int:
        """Its exit code, when it has one."""
        return await asyncio.to_thread(self.process.wait, 20)

    def end(self) -> None:
        """End it, if it is still there."""
        with contextlib.suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def child(role: str, argument: str) -> Iterator[Child]:
    one = Child(role, argument)
    try:
        yield one
    finally:
        one.end()


@contextlib.asynccontextmanager
async def in_two_processes() -> AsyncIterator[Open]:
    with child("serve", "tcp:0") as server:
        hci = await server.said()

        async def open_it() -> Connection:
            return await open_ble(ADDRESS, hci=hci)

        yield open_it


Way = Callable[[], contextlib.AbstractAsyncContextManager[Open]]
WAYS = [
    pytest.param(through_memory, id="memory"),
    pytest.param(in_process, id="in-process"),
    pytest.param(in_two_processes, id="two-processes", marks=pytest.mark.real_time),
]

# ---- the conversation ------------------------------------------------------------------------------------------------


async def read_bytes(link: Link, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await link.read()
    return data


async def read_until_lost(link: Link) -> list[bytes]:
    """What arrived before the loss that has to come."""
    got = []
    try:
        while True:
            got.append(await link.read())
    except LinkLost:
        return got


async def echo_every_size(link: Link, sizes: range, *, verb: bytes = b"E") -> None:
    """What is sent comes back: in one write where the medium carries it, in as many as are needed otherwise."""
    for size in sizes:
        payload = bytes((size + at) % 256 for at in range(size))
        room = link.max_write - len(verb)
        for at in range(0, size, room):
            await link.write(verb + payload[at : at + room])
        assert await read_bytes(link, size) == payload


async def whole_conversation(open_it: Open, sizes: range) -> None:
    connection = await open_it()
    seen = connection.advertised
    assert (seen.address, seen.name, seen.service_uuids) == (ADDRESS, NAME, (SERVICE,))
    assert seen.manufacturer_data == {COMPANY: b"\x2a"}
    assert {COMMANDS.write, EVENT, REQUESTS.write, ANSWER, INFO, CLOSED} <= connection.characteristics
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    assert await connection.link(COMMANDS) is commands
    assert commands.max_write == 244

    await echo_every_size(commands, sizes)
    for size in sizes:  # a request longer than the MTU goes as one long write
        await requests.write(b"E" + bytes(size))
        assert await read_bytes(requests, size) == bytes(size)
    await asyncio.gather(echo_every_size(commands, range(200, 205)), echo_every_size(requests, range(200, 205)))
    with pytest.raises(LinkError, match="cannot be sent"):
        await commands.write(bytes(245))

    await commands.write(burst(100, 244))
    assert [await commands.read() for _ in range(100)] == [numbered(number, 244) for number in range(100)]
    await requests.write(burst(20, 100))
    assert [await requests.read() for _ in range(20)] == [numbered(number, 100) for number in range(20)]

    assert await connection.value(INFO) == b"echo 1"
    for attempt, code in ((connection.value(CLOSED), CLOSED_CODE), (requests.write(b"R\x9f"), 0x9F)):
        with pytest.raises(RefusedError) as refused:
            await attempt
        assert refused.value.status == code
    await commands.write(b"R\x9f")  # nobody answers a command, not even with a refusal
    await requests.write(b"T\x00\x0a")
    assert await commands.read() == b"tick"

    await requests.close()
    with pytest.raises(LinkClosed):
        await requests.read()
    await echo_every_size(commands, range(1, 3))
    requests = await connection.link(REQUESTS)
    await echo_every_size(requests, range(1, 3))

    waiting = asyncio.ensure_future(requests.read())
    await commands.write(burst(100, 100, lost_after=40))
    got = await read_until_lost(commands)
    assert got == [numbered(number, 100) for number in range(len(got))]
    assert len(got) <= 40
    with pytest.raises(LinkLost):
        await waiting
    for attempt in (commands.write(b"E1"), connection.link(COMMANDS), connection.value(INFO)):
        with pytest.raises(LinkLost):
            await attempt
    await connection.close()

    connection = await open_it()
    assert await connection.value(INFO) == b"echo 2"
    commands = await connection.link(COMMANDS)
    await echo_every_size(commands, range(1, 10))
    await commands.write(b"D\x27\x10too late")
    reading = asyncio.ensure_future(commands.read())
    await asyncio.sleep(0.01)
    await connection.close()
    await connection.close()
    with pytest.raises(LinkClosed):
        await reading
    for attempt in (commands.write(b"E1"), connection.link(COMMANDS), connection.value(INFO)):
        with pytest.raises(LinkClosed):
            await attempt

    connection = await open_it()  # hung up on by the unit
    commands = await connection.link(COMMANDS)
    await commands.write(b"Elast words")
    await commands.write(b"H")
    assert await commands.read() == b"last words"
    with pytest.raises(LinkLost):
        await commands.read()
    await connection.close()


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_a_unit_offers_the_same_connection(way: Way) -> None:
    async with way() as open_it, asyncio.timeout(LIMIT_S):
        await whole_conversation(open_it, range(1, 501, 11))


@pytest.mark.sweep
@pytest.mark.parametrize("way", WAYS)
async def test_every_size_passes_every_way(way: Way) -> None:
    async with way() as open_it, asyncio.timeout(LIMIT_S):
        await whole_conversation(open_it, range(1, 501))


# ---- losing it anywhere ----------------------------------------------------------------------------------------------


async def short_conversation(connection: Connection) -> None:
    """A little of everything."""
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    assert (await connection.value(INFO)).startswith(b"echo")
    await echo_every_size(commands, range(1, 300, 150))
    await requests.write(b"E" + bytes(400))
    assert await read_bytes(requests, 400) == bytes(400)
    await commands.write(burst(8, 100))
    assert [await commands.read() for _ in range(8)] == [numbered(number, 100) for number in range(8)]
    await requests.close()  # which says nothing of a loss
    assert (await connection.value(INFO)).startswith(b"echo")


async def whole_or_lost(connection: Connection) -> bool:
    """Whether the conversation was finished; the only other way is a loss, told to everybody."""
    try:
        await short_conversation(connection)
    except LinkLost:
        with pytest.raises(LinkLost):
            await connection.value(INFO)
        return False
    finally:
        await connection.close()
    return True


async def lose_at_every(points: list[int]) -> None:
    async with OnAir() as air:
        for point in points:
            air.radio.lose_at(point)
            try:
                connection = await air.open()  # which tries again when it is lost while it connects
            except ConnectError as error:
                pytest.fail(f"lost at packet {point}: {error}")
            await whole_or_lost(connection)
            air.radio.lose_all()
            air.radio._losses.clear()
            assert await whole_or_lost(await air.open()), f"after a loss at packet {point}"


async def packets() -> int:
    """How many packets the short conversation takes, with connecting."""
    async with OnAir() as air:
        assert await whole_or_lost(await air.open())
        return air.radio.packets_to_units + air.radio.packets_from_units


async def test_a_connection_that_is_lost_at_a_packet_ends_as_lost_and_the_next_one_is_whole() -> None:
    async with asyncio.timeout(1000):
        total = await packets()
        await lose_at_every([*range(1, total, total // 10), total])


@pytest.mark.sweep
async def test_a_connection_that_is_lost_at_any_packet_ends_as_lost_and_the_next_one_is_whole() -> None:
    async with asyncio.timeout(10000):
        await lose_at_every(list(range(1, await packets() + 1)))


@pytest.mark.parametrize("kind", ["cut_after_requests", "cut_after_writes", "cut_after_chunks"])
async def test_a_memory_connection_that_is_cut_anywhere_ends_as_lost_and_the_next_one_is_whole(kind: str) -> None:
    unit = EchoUnit()
    probe = MemoryConnection.open(unit)
    assert await whole_or_lost(probe)
    total = {"cut_after_requests": probe.requests, "cut_after_writes": probe.writes, "cut_after_chunks": probe.chunks}
    for point in range(total[kind]):
        assert not await whole_or_lost(MemoryConnection.open(unit, faults=ConnectionFaults(**{kind: point}))), point
        assert not unit.is_connected
        assert await whole_or_lost(MemoryConnection.open(unit)), point


@pytest.mark.parametrize("moment", ["waits", "reads", "writes"])
async def test_a_loss_out_of_the_blue_is_told_within_50_ms(moment: str) -> None:
    async with OnAir() as air, asyncio.timeout(LIMIT_S):
        connection = await air.open()
        link = await connection.link(REQUESTS)
        await link.write(b"D\x27\x10late")
        task = asyncio.ensure_future(connection.value(INFO) if moment == "reads" else link.read())
        await asyncio.sleep(0 if moment == "reads" else 0.5)
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        air.radio.lose_all()
        with pytest.raises(LinkLost):
            await (link.write(b"E1") if moment == "writes" else task)
        assert loop.time() - start_s < 0.05
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        await connection.close()


# ---- deadlines -------------------------------------------------------------------------------------------------------


async def test_a_slow_radio_is_only_slow() -> None:
    async with OnAir(interval_s=0.0075) as air, asyncio.timeout(LIMIT_S):
        start_s = asyncio.get_running_loop().time()
        await whole_conversation(air.open, range(1, 501, 40))
        assert asyncio.get_running_loop().time() - start_s > 2.0


async def test_a_request_that_was_given_up_does_not_spoil_the_next_one() -> None:
    async with OnAir(interval_s=0.03) as air, asyncio.timeout(LIMIT_S):
        connection = await air.open()
        link = await connection.link(REQUESTS)
        for deadline_s in (0.0, 0.001, 0.02, 0.035, 0.05, 0.1, 0.2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await link.write(b"E" + b"\x00" * 300)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await connection.value(INFO)
            assert await connection.value(INFO) == b"echo 1"
        await link.write(b"E\xff")
        while await link.read() != b"\xff":
            pass
        await connection.close()


async def test_opening_that_is_given_up_leaves_the_unit_free() -> None:
    async with OnAir(interval_s=0.03) as air, asyncio.timeout(LIMIT_S):
        for deadline_s in (0.01, 0.05, 0.1, 0.3, 0.6):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await (await air.open()).close()
            connection = await air.open()
            assert (await connection.value(INFO)).startswith(b"echo")
            await connection.close()


async def test_a_second_client_waits_until_the_unit_is_free() -> None:
    async with OnAir() as air, asyncio.timeout(LIMIT_S):
        first = await air.open()
        with pytest.raises(ConnectError, match="was not seen"):
            await open_ble(ADDRESS, stack=await air.stack(), timeout_s=2.0)
        second = asyncio.ensure_future(open_ble(NAME, stack=await air.stack()))
        await asyncio.sleep(1.0)
        await first.close()
        connection = await second
        assert await connection.value(INFO) == b"echo 2"
        await connection.close()


async def test_a_scan_sees_the_unit_once_a_second_or_more() -> None:
    async with OnAir() as air:
        stack = await air.stack()
        seen = {unit.address: unit async for unit in scan_ble(1.0, stack=stack)}
        await stack.release()
    assert list(seen) == [ADDRESS]
    assert (seen[ADDRESS].name, seen[ADDRESS].service_uuids) == (NAME, (SERVICE,))
    assert seen[ADDRESS].rssi_dbm is not None


async def test_what_wants_encryption_says_so_and_is_open_after_pairing() -> None:
    async with OnAir(encrypted=(INFO, REQUESTS.write)) as air, asyncio.timeout(LIMIT_S):
        connection = await open_ble(ADDRESS, stack=await air.stack())
        link = await connection.link(REQUESTS)
        for attempt in (connection.value(INFO), link.write(b"E1")):
            with pytest.raises(RefusedError, match="insufficient encryption") as refused:
                await attempt
            assert "paired" in str(refused.value.hint)
        await connection.pair()
        assert await connection.value(INFO) == b"echo 1"
        await echo_every_size(link, range(1, 3))
        await connection.close()


async def test_pairing_with_a_unit_that_goes_away_is_refused_and_the_connection_lost() -> None:
    async with OnAir() as air, asyncio.timeout(LIMIT_S):
        connection = await open_ble(ADDRESS, stack=await air.stack())
        air.radio.lose_at(2)
        with pytest.raises(RefusedError, match="pairing failed"):
            await connection.pair()
        with pytest.raises(LinkLost):
            await connection.value(INFO)
        await connection.close()


# ---- deaths ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(spec: str) -> AsyncIterator[tuple[OnAir, HciServer]]:
    async with OnAir() as air:
        server = await serve_hci(air.radio, spec)
        try:
            yield air, server
        finally:
            await server.close()


@pytest.mark.real_time
async def test_a_client_that_is_killed_in_the_middle_leaves_the_unit_to_the_next_one() -> None:
    async with asyncio.timeout(LIMIT_S), served("tcp:0") as (air, server):
        with child("die", server.hci) as client:
            assert await client.ended() == 9
        connection = await open_ble(ADDRESS, hci=server.hci)
        assert await connection.value(INFO) == b"echo 2"
        await short_conversation(connection)
        await connection.close()
        assert air.unit.heard[0] == burst(1000, 100)


@pytest.mark.real_time
async def test_a_simulator_that_is_killed_is_a_loss_at_once_and_then_not_found() -> None:
    with child("serve", "tcp:0") as server:
        hci = await server.said()
        connection = await open_ble(ADDRESS, hci=hci)
        commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
        await commands.write(burst(2000, 244))
        waiting = [asyncio.ensure_future(it) for it in (requests.read(), requests.write(b"D\x27\x10x"))]
        for _ in range(10):
            await commands.read()
        server.process.kill()
        async with asyncio.timeout(PROMPT_S):
            await read_until_lost(commands)
            await asyncio.wait(waiting)
            assert isinstance(waiting[0].exception(), LinkLost)
            assert isinstance(waiting[1].exception(), LinkLost | None)
            await connection.close()
        with pytest.raises(ConnectError):
            await open_ble(ADDRESS, hci=hci)


# ---- plain links -----------------------------------------------------------------------------------------------------


LAST_WORDS = b"last words"


class StreamEcho:
    """Sends back what comes, and hangs up after the last words."""

    def opened(self, now_s: float) -> list[Outgoing]:
        del now_s
        return []

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        end = [Outgoing(at_s=now_s, hangup=True)] if LAST_WORDS in data else []
        return [Outgoing(at_s=now_s, data=data), *end]

    def set_host_baud(self, baud: int | None) -> None: ...

    def closed(self) -> None: ...


Streams = Callable[[], contextlib.AbstractAsyncContextManager[Callable[[], Awaitable[Link]]]]


@contextlib.asynccontextmanager
async def memory_stream() -> AsyncIterator[Callable[[], Awaitable[Link]]]:
    async def open_it() -> Link:
        return MemoryLink.open(StreamEcho(), faults=LinkFaults())

    yield open_it


@contextlib.asynccontextmanager
async def socket_stream() -> AsyncIterator[Callable[[], Awaitable[Link]]]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
            if LAST_WORDS in data:
                break
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)

    async def open_it() -> Link:
        return await open_serial(f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}", baud=57600)

    yield open_it
    server.close()
    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def pty_stream() -> AsyncIterator[Callable[[], Awaitable[Link]]]:
    pty = pytest.importorskip("pty", reason="this system has no pseudo terminals")
    tty = pytest.importorskip("tty", reason="this system has no pseudo terminals")
    loop = asyncio.get_running_loop()
    masters: set[int] = set()

    def end(master: int) -> None:
        if master in masters:
            masters.discard(master)
            loop.remove_reader(master)
            os.close(master)

    def echo(master: int) -> None:
        try:
            data = os.read(master, 4096)
        except OSError:
            end(master)
            return
        os.write(master, data)
        if LAST_WORDS in data:
            loop.call_later(0.05, end, master)  # closing takes what is on its way with it

    async def open_it() -> Link:
        master, slave = pty.openpty()
        tty.setraw(slave)
        link = await open_serial(os.ttyname(slave), baud=57600)
        os.close(slave)
        masters.add(master)
        loop.add_reader(master, echo, master)
        return link

    yield open_it
    for master in tuple(masters):
        end(master)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(memory_stream, id="memory"),
        pytest.param(pty_stream, id="pty", marks=pytest.mark.real_time),
        pytest.param(socket_stream, id="socket", marks=pytest.mark.real_time),
    ],
)
async def test_a_plain_link_does_its_part_of_the_same_conversation(way: Streams) -> None:
    async with asyncio.timeout(LIMIT_S), way() as open_it:
        link = await open_it()
        await echo_every_size(link, range(1, 501, 11), verb=b"")
        sent = [numbered(number, 30) for number in range(100)]
        for data in sent:
            await link.write(data)
        assert await read_bytes(link, 3000) == b"".join(sent)
        await link.close()
        await link.close()
        for attempt in (link.read(), link.write(b"x")):
            with pytest.raises(LinkClosed):
                await attempt

        link = await open_it()
        await link.write(LAST_WORDS)
        assert await read_bytes(link, len(LAST_WORDS)) == LAST_WORDS
        with pytest.raises(LinkLost):
            await link.read()
        with pytest.raises(LinkLost):
            await link.write(b"x")
        await link.close()

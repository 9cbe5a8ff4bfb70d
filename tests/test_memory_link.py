"""The memory link: order, time, endings and the faults of its cable."""

from __future__ import annotations

import asyncio

import pytest
from framing import every_split

from lockmigrate.errors import LinkClosed, LinkLost
from lockmigrate.transports import Device, Outgoing, SerialLink
from lockmigrate.transports.memory import LinkFaults, MemoryLink


class Echo:
    """Sends everything back after `delay_s`, in pieces of `piece_bytes`; b"!" pulls the plug."""

    def __init__(self, *, delay_s: float = 0.0, piece_bytes: int = 64, greeting: bytes = b"") -> None:
        self.delay_s = delay_s
        self.piece_bytes = piece_bytes
        self.greeting = greeting
        self.received = b""
        self.calls: list[str] = []

    def opened(self, now_s: float) -> list[Outgoing]:
        self.calls.append("opened")
        return [Outgoing(at_s=now_s + self.delay_s, data=self.greeting)] if self.greeting else []

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self.received += data
        at_s = now_s + self.delay_s
        out = [
            Outgoing(at_s=at_s, data=data[at : at + self.piece_bytes]) for at in range(0, len(data), self.piece_bytes)
        ]
        return [*out, Outgoing(at_s=at_s, hangup=True)] if b"!" in data else out

    def set_host_baud(self, baud: int | None) -> None:
        self.calls.append(f"baud {baud}")

    def closed(self) -> None:
        self.calls.append("closed")


async def read_all(link: MemoryLink) -> bytes:
    """Everything until the link is lost or stays silent for a virtual minute."""
    data = b""
    try:
        async with asyncio.timeout(60):
            while True:
                data += await link.read()
    except (LinkLost, TimeoutError):
        return data


async def test_it_is_a_serial_link_to_a_device() -> None:
    device = Echo()
    link = MemoryLink.open(device)
    as_device: Device = device
    assert isinstance(link, SerialLink)
    assert as_device is device
    assert not link.fixed_speed
    assert link.instant


async def test_the_device_hears_of_opening_speed_and_closing_once() -> None:
    device = Echo()
    link = MemoryLink.open(device, baud=57600)
    await link.set_baud(9600)
    await link.close()
    await link.close()
    assert device.calls == ["baud 57600", "opened", "baud 9600", "closed"]


async def test_bytes_arrive_when_they_are_due_and_not_before() -> None:
    link = MemoryLink.open(Echo(delay_s=2.5))
    start_s = asyncio.get_running_loop().time()
    await link.write(b"ping")
    assert await link.read() == b"ping"
    assert asyncio.get_running_loop().time() - start_s == pytest.approx(2.5)


async def test_a_greeting_arrives_without_a_write() -> None:
    link = MemoryLink.open(Echo(greeting=b"\x55", delay_s=0.3))
    assert await link.read() == b"\x55"


async def test_many_pieces_with_one_due_time_keep_their_order() -> None:
    sent = bytes(range(256))
    for name, pieces in every_split(sent[:20]):
        link = MemoryLink.open(Echo(delay_s=1.0, piece_bytes=1))
        for piece in pieces:
            await link.write(piece)
        assert await read_all(link) == sent[:20], name


async def test_a_cancelled_read_loses_nothing() -> None:
    link = MemoryLink.open(Echo(delay_s=1.0, piece_bytes=1))
    await link.write(b"abcdef")
    received = b""
    for _ in range(40):  # deadlines that fall before, at and after the arrival
        try:
            async with asyncio.timeout(0.05):
                received += await link.read()
        except TimeoutError:
            continue
    assert received == b"abcdef"


async def test_after_a_hangup_the_rest_is_read_and_then_the_link_is_lost() -> None:
    link = MemoryLink.open(Echo(delay_s=0.1))
    await link.write(b"bye!")
    assert await link.read() == b"bye!"
    with pytest.raises(LinkLost):
        await link.read()
    with pytest.raises(LinkLost):
        await link.write(b"x")
    with pytest.raises(LinkLost):
        await link.set_baud(9600)


async def test_closing_ends_a_waiting_read_and_every_later_call() -> None:
    link = MemoryLink.open(Echo())
    waiting = asyncio.create_task(link.read())
    await asyncio.sleep(1)
    await link.close()
    with pytest.raises(LinkClosed):
        await waiting
    for call in (link.read(), link.write(b"x"), link.set_baud(9600)):
        with pytest.raises(LinkClosed):
            await call


async def test_what_is_due_after_closing_never_arrives() -> None:
    link = MemoryLink.open(Echo(delay_s=5.0))
    await link.write(b"late")
    await link.close()
    await asyncio.sleep(10)
    with pytest.raises(LinkClosed):
        await link.read()


async def test_discard_forgets_what_arrived_and_says_how_much() -> None:
    link = MemoryLink.open(Echo(delay_s=1.0))
    await link.write(b"old")
    await asyncio.sleep(2)
    await link.write(b"new")
    assert link.discard() == 3
    assert await link.read() == b"new"
    assert link.discard() == 0


async def test_writing_lets_other_tasks_run() -> None:
    link = MemoryLink.open(Echo())

    async def talk() -> None:
        for _ in range(10_000):
            await link.write(b"x")
            await link.read()

    talking = asyncio.create_task(talk())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not talking.done()
    assert 0 < link.writes < 10
    talking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await talking


@pytest.mark.parametrize("after", range(4))
async def test_a_cut_after_n_writes_lets_exactly_n_through(after: int) -> None:
    device = Echo(delay_s=0.5)
    link = MemoryLink.open(device, faults=LinkFaults(cut_after_writes=after))
    for _ in range(after):
        await link.write(b"ab")
    with pytest.raises(LinkLost):
        await link.write(b"ab")
    assert device.received == b"ab" * after
    assert await read_all(link) == b""  # no answer comes through a cut cable
    assert device.calls == ["baud None", "opened"]  # the unit does not notice


@pytest.mark.parametrize("after", range(4))
async def test_a_cut_after_n_chunks_lets_exactly_n_through(after: int) -> None:
    link = MemoryLink.open(Echo(piece_bytes=2), faults=LinkFaults(cut_after_chunks=after))
    await link.write(b"aabbccdd")
    assert await read_all(link) == b"aabbccdd"[: 2 * after]
    with pytest.raises(LinkLost):
        await link.read()


@pytest.mark.parametrize("after", range(7))
async def test_a_cut_after_n_written_bytes_lets_exactly_n_through(after: int) -> None:
    device = Echo()
    link = MemoryLink.open(device, faults=LinkFaults(cut_after_written_bytes=after))

    async def talk() -> None:
        for _ in range(3):
            await link.write(b"xyz")

    with pytest.raises(LinkLost):
        await talk()
    assert device.received == b"xyzxyzxyz"[:after]


@pytest.mark.parametrize("after", range(7))
async def test_a_cut_after_n_read_bytes_lets_exactly_n_through(after: int) -> None:
    link = MemoryLink.open(Echo(piece_bytes=3), faults=LinkFaults(cut_after_read_bytes=after))
    await link.write(b"xyzxyzxyz")
    assert await read_all(link) == b"xyzxyzxyz"[:after]
    with pytest.raises(LinkLost):
        await link.read()


async def test_a_lost_write_does_not_reach_the_device() -> None:
    device = Echo()
    link = MemoryLink.open(device, faults=LinkFaults(lose_write=2))
    for data in (b"1", b"2", b"3"):
        await link.write(data)
    assert device.received == b"13"


async def test_a_lost_chunk_does_not_reach_the_reader() -> None:
    link = MemoryLink.open(Echo(piece_bytes=1), faults=LinkFaults(lose_chunk=2))
    await link.write(b"123")
    assert await read_all(link) == b"13"


async def test_a_late_chunk_holds_up_those_behind_it() -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    link = MemoryLink.open(Echo(piece_bytes=1), faults=LinkFaults(delay_chunk=2, delay_s=5.0))
    await link.write(b"123")
    arrived = [(await link.read(), round(loop.time() - start_s)) for _ in range(3)]
    assert arrived == [(b"1", 0), (b"2", 5), (b"3", 5)]


async def test_it_counts_what_a_sweep_needs() -> None:
    link = MemoryLink.open(Echo(piece_bytes=1))
    await link.write(b"123")
    await link.write(b"4")
    assert (link.writes, link.chunks) == (2, 4)

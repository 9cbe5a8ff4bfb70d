"""Serial ports on real ptys and real sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import serial

from lockmigrate.errors import ConnectError, ConnectReason, LinkClosed, LinkError, LinkLost
from lockmigrate.transports import SerialLink
from lockmigrate.transports import serial as serial_module
from lockmigrate.transports.ports import PortInfo
from lockmigrate.transports.serial import HIGH_WATER_BYTES, open_serial
from lockmigrate.transports.serial_errors import connect_error, ports_hint

pytestmark = pytest.mark.real_time

PROMPT_S = 2.0
"""Generous upper bound for what happens "at once" on a busy machine."""


@dataclass
class Pty:
    master: int
    path: str

    def hang_up(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


@pytest.fixture
def pty_pair() -> Iterator[Pty]:
    pty = pytest.importorskip("pty", reason="this system has no pseudo terminals")
    tty = pytest.importorskip("tty", reason="this system has no pseudo terminals")
    master, slave = pty.openpty()
    tty.setraw(slave)
    pair = Pty(master, os.ttyname(slave))
    os.close(slave)
    yield pair
    pair.hang_up()


@contextlib.asynccontextmanager
async def opened(port: str, *, baud: int = 57600) -> AsyncIterator[SerialLink]:
    link = await open_serial(port, baud=baud)
    try:
        yield link
    finally:
        await link.close()


@contextlib.contextmanager
def listener() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PROMPT_S)
        yield server, f"socket://127.0.0.1:{server.getsockname()[1]}"


async def read_exactly(link: SerialLink, size_bytes: int) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while len(data) < size_bytes:
            data += await link.read()
    return data


# ---- pty -------------------------------------------------------------------------------------------------------------


async def test_every_byte_value_goes_through_a_pty_both_ways(pty_pair: Pty) -> None:
    every = bytes(range(256))
    async with opened(pty_pair.path) as link:
        assert isinstance(link, SerialLink)
        assert not link.fixed_speed
        await link.write(every)
        assert os.read(pty_pair.master, 4096) == every
        os.write(pty_pair.master, every)
        assert await read_exactly(link, 256) == every


async def test_a_big_write_waits_for_a_slow_reader_and_loses_nothing(pty_pair: Pty) -> None:
    sent = os.urandom(300_000)
    received = bytearray()

    def drain_slowly() -> None:
        while len(received) < len(sent):
            received.extend(os.read(pty_pair.master, 3000))

    async with opened(pty_pair.path) as link:
        writing = asyncio.create_task(link.write(sent))
        await asyncio.sleep(0.02)
        assert not writing.done()  # the pty is full, and the loop still runs
        await asyncio.to_thread(drain_slowly)
        await writing
    assert bytes(received) == sent


async def test_concurrent_writes_do_not_mix(pty_pair: Pty) -> None:
    parts = [bytes([letter]) * 20_000 for letter in b"abc"]
    received = bytearray()

    def drain_all() -> None:
        while len(received) < 60_000:
            received.extend(os.read(pty_pair.master, 65536))

    async with opened(pty_pair.path) as link:
        await asyncio.gather(asyncio.to_thread(drain_all), *(link.write(part) for part in parts))
    assert bytes(received) == b"".join(parts)


async def test_cancelled_reads_lose_nothing(pty_pair: Pty) -> None:
    sent = os.urandom(2000)
    received = b""
    async with opened(pty_pair.path) as link:
        for at in range(0, len(sent), 20):
            os.write(pty_pair.master, sent[at : at + 20])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    received += await link.read()
        received += await read_exactly(link, len(sent) - len(received))
    assert received == sent


async def test_a_closed_master_is_a_lost_link_promptly_and_the_rest_is_read_first(pty_pair: Pty) -> None:
    async with opened(pty_pair.path) as link:
        os.write(pty_pair.master, b"last words")
        assert await link.read() == b"last words"
        waiting = asyncio.create_task(link.read())
        await asyncio.sleep(0.01)
        start_s = time.monotonic()
        pty_pair.hang_up()
        with pytest.raises(LinkLost) as caught:
            await waiting
        assert time.monotonic() - start_s < PROMPT_S
        assert pty_pair.path in str(caught.value)
        with pytest.raises(LinkLost):
            await link.write(b"x")
        with pytest.raises(LinkLost):
            await link.set_baud(9600)


async def test_a_write_that_waits_when_the_master_closes_is_a_lost_link(pty_pair: Pty) -> None:
    async with opened(pty_pair.path) as link:
        writing = asyncio.create_task(link.write(bytes(300_000)))
        await asyncio.sleep(0.02)
        pty_pair.hang_up()
        with pytest.raises(LinkLost):
            async with asyncio.timeout(PROMPT_S):
                await writing


async def test_closing_ends_waiting_calls_and_may_be_repeated(pty_pair: Pty) -> None:
    link = await open_serial(pty_pair.path, baud=57600)
    waiting = [asyncio.create_task(link.read()), asyncio.create_task(link.write(bytes(300_000)))]
    await asyncio.sleep(0.02)
    await link.close()
    await link.close()
    for task in waiting:
        with pytest.raises(LinkClosed):
            await task
    for call in (link.read(), link.write(b"x"), link.set_baud(9600)):
        with pytest.raises(LinkClosed):
            await call
    assert link.discard() == 0


async def test_the_master_sees_the_speed(pty_pair: Pty) -> None:
    termios = pytest.importorskip("termios", reason="this system has no termios")
    async with opened(pty_pair.path, baud=57600) as link:
        assert termios.tcgetattr(pty_pair.master)[4] == termios.B57600
        await link.set_baud(115200)
        assert termios.tcgetattr(pty_pair.master)[4] == termios.B115200


async def test_an_impossible_speed_is_our_error(pty_pair: Pty) -> None:
    async with opened(pty_pair.path) as link:
        with pytest.raises(LinkError, match="cannot run at -1 baud"):
            await link.set_baud(-1)


async def test_discard_also_forgets_what_the_system_still_holds(pty_pair: Pty) -> None:
    async with opened(pty_pair.path) as link:
        os.write(pty_pair.master, b"first")
        await asyncio.sleep(0.02)
        os.write(pty_pair.master, b"second")  # the loop has had no turn to fetch this
        assert link.discard() == len(b"firstsecond")
        os.write(pty_pair.master, b"third")
        assert await link.read() == b"third"


async def test_reading_pauses_when_nobody_takes_the_bytes_and_goes_on_without_loss(pty_pair: Pty) -> None:
    sent = os.urandom(HIGH_WATER_BYTES + 300_000)
    feeder = threading.Thread(target=_write_all, args=(pty_pair.master, sent))
    async with opened(pty_pair.path) as link:
        feeder.start()
        await asyncio.sleep(0.3)
        assert feeder.is_alive()  # held up by us
        received = await read_exactly(link, len(sent))
        await asyncio.to_thread(feeder.join)
    assert received == sent


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


async def test_a_second_opening_is_refused_until_the_first_closes(pty_pair: Pty) -> None:
    async with opened(pty_pair.path):
        with pytest.raises(ConnectError) as caught:
            await open_serial(pty_pair.path, baud=9600)
        assert caught.value.reason is ConnectReason.BUSY
        assert "in use" in str(caught.value)
        assert "lsof" in (caught.value.hint or "")
    async with opened(pty_pair.path):
        pass


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count descriptors")
async def test_no_descriptor_is_left_open(pty_pair: Pty) -> None:
    async with opened(pty_pair.path):
        pass
    before = count_descriptors()
    async with opened(pty_pair.path):
        assert count_descriptors() > before
    assert count_descriptors() == before


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# ---- TCP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_thread", [False, True], ids=["watched", "thread"])
async def test_a_socket_carries_bytes_and_has_no_speed(with_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if with_thread:
        monkeypatch.setattr(serial_module, "_descriptor", lambda _port: None)
    with listener() as (server, url):
        async with opened(url) as link:
            peer, _ = server.accept()
            with peer:
                assert link.fixed_speed
                await link.set_baud(9600)
                await link.write(b"question")
                assert peer.recv(100) == b"question"
                peer.sendall(b"answer" * 1000)
                assert await read_exactly(link, 6000) == b"answer" * 1000
                peer.sendall(b"bye")
                peer.close()
                assert await read_exactly(link, 3) == b"bye"
                with pytest.raises(LinkLost):
                    async with asyncio.timeout(PROMPT_S):
                        await link.read()


async def test_a_reset_connection_is_a_lost_link_and_closes_cleanly() -> None:
    with listener() as (server, url):
        async with opened(url) as link:
            peer, _ = server.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
            peer.close()
            with pytest.raises(LinkLost):
                async with asyncio.timeout(PROMPT_S):
                    await link.read()


async def test_closing_a_socket_is_seen_by_the_peer_and_takes_no_time() -> None:
    with listener() as (server, url):
        link = await open_serial(url, baud=57600)
        peer, _ = server.accept()
        with peer:
            peer.settimeout(PROMPT_S)
            start_s = time.monotonic()
            await link.close()
            assert time.monotonic() - start_s < 0.25  # pyserial's own close sleeps 0.3 s
            assert peer.recv(1) == b""


async def test_nobody_listening_is_not_found() -> None:
    with listener() as (_, url):
        pass  # the port is free again
    with pytest.raises(ConnectError) as caught:
        await open_serial(url, baud=57600)
    assert caught.value.reason is ConnectReason.NOT_FOUND
    assert "nothing listens" in str(caught.value)


@pytest.mark.parametrize("url", ["socket://127.0.0.1", "socket://127.0.0.1:99999", "nonsense://127.0.0.1:1"])
async def test_a_malformed_url_is_our_error(url: str) -> None:
    with pytest.raises(ConnectError) as caught:
        await open_serial(url, baud=57600)
    assert caught.value.reason is ConnectReason.FAILED


async def test_an_opening_that_hangs_is_given_up_and_the_late_port_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    closed = asyncio.Event()
    late = serial.serial_for_url("loop://")
    monkeypatch.setattr(late, "close", closed.set)

    def hang(*_args: object, **_kwargs: object) -> serial.Serial:
        gate.wait(PROMPT_S)
        return late

    monkeypatch.setattr(serial, "serial_for_url", hang)
    monkeypatch.setattr(serial_module, "OPEN_LIMIT_S", 0.02)
    with pytest.raises(ConnectError, match=r"did not open within 0\.02 s"):
        await open_serial("/dev/slow", baud=57600)
    gate.set()
    async with asyncio.timeout(PROMPT_S):
        await closed.wait()


# ---- the thread ------------------------------------------------------------------------------------------------------


async def test_a_port_without_a_descriptor_is_read_by_a_thread_that_ends_with_it() -> None:
    link = await open_serial("loop://", baud=115200)
    name = "reader of loop://"
    assert any(thread.name == name for thread in threading.enumerate())
    await link.write(b"echo")
    assert await read_exactly(link, 4) == b"echo"
    await link.write(b"old")
    await asyncio.sleep(0.05)
    assert link.discard() == 3
    await link.set_baud(9600)
    waiting = asyncio.create_task(link.read())
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(LinkClosed):
        await waiting
    assert not any(thread.name == name for thread in threading.enumerate())


async def test_a_pty_read_by_a_thread_behaves_alike(pty_pair: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_module, "_descriptor", lambda _port: None)
    async with opened(pty_pair.path) as link:
        await link.write(b"question")
        assert os.read(pty_pair.master, 100) == b"question"
        os.write(pty_pair.master, b"answer")
        assert await read_exactly(link, 6) == b"answer"
        pty_pair.hang_up()
        with pytest.raises(LinkLost):
            async with asyncio.timeout(PROMPT_S):
                await link.read()


# ---- what cannot be opened -------------------------------------------------------------------------------------------


async def test_a_missing_port_names_the_ports_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = [PortInfo(device=f"/dev/ttyUSB{number}") for number in range(10)]
    monkeypatch.setattr(serial_module, "list_serial_ports", lambda: seen)
    with pytest.raises(ConnectError) as caught:
        await open_serial(str(tmp_path / "ttyUSB77"), baud=57600)
    assert caught.value.reason is ConnectReason.NOT_FOUND
    assert "ttyUSB77" in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("/dev/ttyUSB7 and 2 more")


@pytest.mark.skipif(os.name != "posix", reason="Windows opens only its own port names")
async def test_a_file_or_a_folder_is_no_serial_device(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    for path, words in ((file, "is no serial device"), (tmp_path, "is a folder")):
        with pytest.raises(ConnectError, match=words) as caught:
            await open_serial(str(path), baud=57600)
        assert caught.value.reason is ConnectReason.FAILED
    assert file.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    [
        (serial.SerialException(errno.EACCES, "could not open port"), ConnectReason.NO_PERMISSION, "dialout"),
        (serial.SerialException(errno.EBUSY, "could not open port"), ConnectReason.BUSY, "fuser"),
        (serial.SerialException(errno.EIO, "could not open port"), ConnectReason.NOT_FOUND, "plug"),
        (serial.SerialException(errno.EMFILE, "could not open port"), ConnectReason.FAILED, None),
        (serial.SerialException("open: PermissionError(13, 'Access is denied.', None, 5)"), ConnectReason.BUSY, None),
        (serial.SerialException("open: FileNotFoundError(2, '…', None, 2)"), ConnectReason.NOT_FOUND, "plug"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the hints checked here are those for POSIX")
def test_each_reason_has_its_words_and_its_hint(error: Exception, reason: ConnectReason, hint: str | None) -> None:
    found = connect_error("/dev/ttyUSB0", error)
    assert found.reason is reason
    assert "/dev/ttyUSB0" in str(found)
    assert hint is None or hint in (found.hint or "")


def test_an_unknown_host_is_not_found() -> None:
    error = serial.SerialException("could not open port")
    error.__context__ = socket.gaierror(socket.EAI_NONAME, "unknown")
    found = connect_error("socket://nowhere.invalid:4000", error)
    assert found.reason is ConnectReason.NOT_FOUND
    assert "host" in str(found)


def test_a_host_that_does_not_answer_is_not_found() -> None:
    error = serial.SerialException("could not open port")
    error.__context__ = TimeoutError("timed out")
    assert connect_error("socket://192.0.2.1:4000", error).reason is ConnectReason.NOT_FOUND


def test_the_hint_without_ports_says_what_to_do() -> None:
    assert "plug the adapter in" in ports_hint([])

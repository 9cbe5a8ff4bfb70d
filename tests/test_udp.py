"""Datagram links: to plain sockets of this machine, and to a served terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason, LinkClosed, LinkLost, TargetError
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.serve import ServedAt, serve
from lockmigrate.sim.serve_udp import serve_udp
from lockmigrate.sim.zk_packets import build
from lockmigrate.transports import Link
from lockmigrate.transports import udp as udp_module
from lockmigrate.transports.udp import DEFAULT_PORT, UdpLink, open_udp, split_address

pytestmark = pytest.mark.real_time

PROMPT_S = 2.0
"""Generous upper bound for what happens "at once" on a busy machine."""
CONNECT = bytes.fromhex("e80317fc00000000")
CONNECTED = bytes.fromhex("d007fffc2ffb0000")


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Somebody at the other end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(PROMPT_S)
        yield opened


def port_of(sock: socket.socket) -> int:
    """Return the port of a socket."""
    return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def linked(port: int) -> AsyncIterator[UdpLink]:
    """A link for the length of a block."""
    link = await open_udp(f"127.0.0.1:{port}")
    try:
        yield link
    finally:
        await link.close()


async def soon(reading: Any) -> Any:
    """Wait for what must come at once."""
    return await asyncio.wait_for(reading, PROMPT_S)


# ---- the link --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("10.0.0.9", ("10.0.0.9", DEFAULT_PORT)),
        ("10.0.0.9:4000", ("10.0.0.9", 4000)),
        ("door.example:1", ("door.example", 1)),
        ("[::1]", ("::1", DEFAULT_PORT)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", ":4370", "h:", "h:0", "h:65536", "h:x", "::1", "[::1", "[]:1", "[::1]4370", "h:١"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(TargetError, match="no address"):
        split_address(address)


async def test_one_read_is_one_datagram(peer: socket.socket) -> None:
    async with linked(port_of(peer)) as link:
        assert isinstance(link, Link)
        await link.write(b"a" * link.max_write)
        data, host = peer.recvfrom(4096)
        assert data == b"a" * 1400
        for size in (1, 1032, 3):
            peer.sendto(b"b" * size, host)
        assert [len(await soon(link.read())) for _ in range(3)] == [1, 1032, 3]


async def test_what_a_stranger_sends_is_not_read(peer: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        async with linked(port_of(peer)) as link:
            await link.write(b"?")
            _, host = peer.recvfrom(9)
            stranger.sendto(b"forged", host)
            peer.sendto(b"true", host)
            assert await soon(link.read()) == b"true"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(link.read(), 0.05)


async def test_a_cancelled_read_loses_nothing(peer: socket.socket) -> None:
    async with linked(port_of(peer)) as link:
        await link.write(b"?")
        _, host = peer.recvfrom(9)
        reading = asyncio.ensure_future(link.read())
        await asyncio.sleep(0)
        peer.sendto(b"first", host)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        assert await soon(link.read()) == b"first"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells it later")
async def test_a_port_where_nobody_listens_loses_the_link(peer: socket.socket) -> None:
    port = port_of(peer)
    peer.close()
    async with linked(port) as link:
        await link.write(b"?")
        with pytest.raises(LinkLost, match=f"nothing listens at udp://127.0.0.1:{port}"):
            await soon(link.read())
        with pytest.raises(LinkLost):
            await link.write(b"?")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells it later")
async def test_a_peer_that_goes_away_loses_the_link_after_what_it_sent(peer: socket.socket) -> None:
    async with linked(port_of(peer)) as link:
        await link.write(b"?")
        _, host = peer.recvfrom(9)
        peer.sendto(b"last", host)
        await asyncio.sleep(0.01)
        peer.close()
        await link.write(b"?")
        assert await soon(link.read()) == b"last"
        with pytest.raises(LinkLost, match="was lost: connection refused"):
            await soon(link.read())


async def test_closing_ends_a_waiting_read_and_may_be_repeated(peer: socket.socket) -> None:
    async with linked(port_of(peer)) as link:
        reading = asyncio.ensure_future(link.read())
        await asyncio.sleep(0)
        await link.close()
        await link.close()
        with pytest.raises(LinkClosed):
            await soon(reading)
        with pytest.raises(LinkClosed):
            await link.write(b"?")


async def test_the_inbox_is_bounded(peer: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_module, "INBOX_BYTES", 2500)
    async with linked(port_of(peer)) as link:
        await link.write(b"?")
        _, host = peer.recvfrom(9)
        for _ in range(5):
            peer.sendto(bytes(1000), host)
        for _ in range(50):
            if link.lost_datagrams == 3:
                break
            await asyncio.sleep(0.01)
        assert link.lost_datagrams == 3
        assert link.discard() == 2000


async def test_a_host_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ConnectError) as caught:
        await open_udp("no-such-host.invalid")
    assert caught.value.reason is ConnectReason.NOT_FOUND
    with pytest.raises(ConnectError):
        await open_udp("a" * 64 + ".example")


async def test_ipv6_in_brackets() -> None:
    try:
        peer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        peer.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with peer:
        link = await open_udp(f"[::1]:{port_of(peer)}")
        await link.write(b"six")
        assert peer.recv(9) == b"six"
        await link.close()


# ---- a served terminal -----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(profile: str = "zk", **options: str) -> AsyncIterator[tuple[Any, ServedAt]]:
    """A unit served on UDP for the length of a block."""
    unit = open_unit(load_profile(profile), "half", options)
    ready: asyncio.Future[ServedAt] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(unit, tcp_port=None, pty=True, on_ready=ready.set_result, udp_port=0))
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield unit, ready.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_terminal_answers_with_datagrams() -> None:
    async with served(session=str(0xFB2F)) as (unit, at), linked(at.port or 0) as link:
        assert at.target == f"udp://127.0.0.1:{at.port}"
        assert at.device is None
        await link.write(CONNECT)
        assert await soon(link.read()) == CONNECTED
        await link.write(bytes.fromhex("e903e6002ffb0100"))
        assert len(await soon(link.read())) == 8
        assert unit.log == [1000, 1001]


async def test_a_cut_lasts_until_somebody_else_asks() -> None:
    async with served(session=str(0xFB2F), cut="out:frame:1") as (_, at):
        async with linked(at.port or 0) as link:
            for _ in range(2):
                await link.write(CONNECT)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(link.read(), 0.05)
        async with linked(at.port or 0) as link:
            await link.write(CONNECT)
            assert await soon(link.read()) == CONNECTED


async def test_late_answers_come_late_and_one_by_one() -> None:
    async with served(pace="10", session=str(0xFB2F)) as (unit, at), linked(at.port or 0) as link:
        await link.write(CONNECT)
        await soon(link.read())
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await link.write(build(7, 0xFB2F, 1, b"\x05"))
        sizes = [len(await soon(link.read())) for _ in range(4)]
        assert sizes == [16, 1032, 8 + 4 + 72 * 20 - 1024, 8]
        assert loop.time() - began_s >= 0.03
        assert unit.log == [1000, 7]


async def test_only_a_unit_with_udp_and_only_on_this_machine() -> None:
    with pytest.raises(ConfigError, match="has no UDP"):
        async with served("r503"):
            pass
    with pytest.raises(ConfigError, match="reached from outside"):
        await serve_udp(open_unit(load_profile("zk"), "empty"), "0.0.0.0", 0, print)  # noqa: S104 - must be refused


async def test_a_taken_port_is_an_error(peer: socket.socket) -> None:
    with pytest.raises(ConnectError, match="cannot listen"):
        await serve_udp(open_unit(load_profile("zk"), "empty"), "127.0.0.1", port_of(peer), print)


async def test_a_unit_that_speaks_udp_is_not_served_on_tcp() -> None:
    unit = open_unit(load_profile("zk"), "empty", {"transport": "udp"})
    with pytest.raises(ConfigError, match="speaks UDP"):
        await serve(unit, tcp_port=0, pty=False, on_ready=print)
    ready: asyncio.Future[ServedAt] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(unit, tcp_port=None, pty=True, on_ready=ready.set_result))
    assert (await soon(ready)).target.startswith("udp://")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("arguments", "scheme", "credential"),
    [(["--udp"], "udp://", None), ([], "serial://socket://", None), (["--udp"], "udp://", {"comm_key": 77})],
)
def test_the_command_line_says_where(arguments: list[str], scheme: str, credential: Any) -> None:
    unit = "zk/empty" + (f"?comm_key={credential['comm_key']}" if credential else "")
    command = [sys.executable, "-m", "lockmigrate", "sim", "serve", unit, "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        process.terminate()
    assert said["target"] == f"{scheme}127.0.0.1:{said['port']}"
    assert (said["device"], said["hci"], said["credential"]) == (None, None, credential)


def test_tcp_and_udp_exclude_each_other() -> None:
    command = [sys.executable, "-m", "lockmigrate", "sim", "serve", "zk", "--tcp", "--udp"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "exclude each other" in ended.stderr

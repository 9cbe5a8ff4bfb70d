"""Simulated units on a simulated radio: its faults, the server of each unit, and both served to other processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import on_air as scenery
import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError, BleakGATTProtocolError
from on_air import (
    ADDRESS,
    COMMAND,
    FLAGS,
    INDICATED,
    NOTIFIED,
    ONLY_COMMANDS,
    VALUE,
    Served,
    Unit,
    number,
    on_air,
    reason,
    reported,
    stream,
)

from lockmigrate import sim
from lockmigrate.cli import main, sim_cmd
from lockmigrate.errors import ConfigError, ConnectError, FileTrouble, LinkLost, LockmigrateError
from lockmigrate.profiles import load_profile
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.sim.serve_ble import ServedOnAir, serve_ble, serve_hci, target_of
from lockmigrate.targets import parse_target
from lockmigrate.transports.ble import open_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner, bumble_host
from lockmigrate.transports.gatt import Channel, Emitted

OTHER = "C0:DE:10:C4:00:02"
needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="this system has no unix sockets")


# ---- the radio -------------------------------------------------------------------------------------------------------


async def test_the_radio_counts_packets_in_each_direction() -> None:
    async with on_air() as air, air.client() as client:
        before = (air.radio.packets_to_units, air.radio.packets_from_units)
        await client.read_gatt_char(VALUE)
        assert (air.radio.packets_to_units, air.radio.packets_from_units) == (before[0] + 1, before[1] + 1)
        await client.write_gatt_char(COMMAND, stream(10), response=False)
        await client.read_gatt_char(VALUE)
        assert air.radio.packets_to_units == before[0] + 3


async def test_the_link_is_lost_at_just_the_packet_that_was_asked_for() -> None:
    for packet in range(1, 6):
        async with on_air() as air, air.client() as client:
            got: list[bytes] = []
            await client.start_notify(NOTIFIED, lambda _, data: got.append(bytes(data)))  # noqa: B023
            air.radio.lose_at(2 + packet)  # behind the write and its answer
            await client.write_gatt_char(COMMAND, stream(10), response=True)
            await asyncio.sleep(0.05)
            assert got == [number(index) for index in range(packet - 1)]
            assert reason(client) == 0x08
            assert air.unit.events[-1] == "disconnected"


async def test_one_units_link_can_be_lost_and_the_others_stays() -> None:
    async with on_air() as air, Peripheral(Unit(OTHER), air.radio):
        other = BleakClient(await air.find(OTHER), backend=BumbleClient)
        async with air.client() as first, other as second:
            air.radio.lose_at(1, unit=OTHER)
            assert await first.read_gatt_char(VALUE) == b"value"
            assert second.is_connected
            with pytest.raises(BleakError):
                await second.read_gatt_char(VALUE)
            assert await first.read_gatt_char(VALUE) == b"value"
            air.radio.lose_all(OTHER)
            assert first.is_connected
            air.radio.lose_all(ADDRESS)
            await asyncio.sleep(0.01)
            assert not first.is_connected


async def test_on_a_slow_radio_everything_takes_its_hops_and_keeps_its_order() -> None:
    loop = asyncio.get_running_loop()
    async with on_air(interval_s=0.0075) as air, air.client() as client:
        started_s = loop.time()
        await client.read_gatt_char(VALUE)
        assert loop.time() - started_s == pytest.approx(0.015, abs=0.001)
        got: list[bytes] = []
        await client.start_notify(NOTIFIED, lambda _, data: got.append(bytes(data)))
        await client.write_gatt_char(COMMAND, stream(200, 244), response=True)
        await asyncio.sleep(0.1)
        assert [data[:2] for data in got] == [number(index) for index in range(200)]


async def test_on_a_slow_radio_a_hang_up_does_not_overtake_the_last_words() -> None:
    async with on_air(interval_s=0.03) as air, air.client() as client:
        got: list[bytes] = []
        await client.start_notify(NOTIFIED, lambda _, data: got.append(bytes(data)))
        await client.write_gatt_char(COMMAND, b"H", response=True)
        await asyncio.sleep(0.1)
        assert got == [b"H"]
        assert reason(client) == 0x13


async def test_on_a_slow_radio_a_unit_that_goes_out_of_reach_has_said_its_last_words() -> None:
    async with on_air(interval_s=0.03) as air, air.client() as client:
        await client.write_gatt_char(COMMAND, b"L", response=True)
        await asyncio.sleep(0.1)
        assert reason(client) == 0x08


async def test_indications_wait_for_each_other() -> None:
    async with on_air(interval_s=0.01) as air, air.client() as client:
        arrived_s: list[float] = []
        loop = asyncio.get_running_loop()
        await client.start_notify(INDICATED, lambda _, __: arrived_s.append(loop.time()))
        await client.write_gatt_char(COMMAND, stream(3, indicated=True), response=True)
        await asyncio.sleep(0.2)
        pauses_s = [later - earlier for earlier, later in itertools.pairwise(arrived_s)]
        assert pauses_s == pytest.approx([0.02, 0.02], abs=0.002)


# ---- a unit on it ----------------------------------------------------------------------------------------------------


async def test_a_unit_is_silent_while_a_client_is_connected_and_heard_again_after() -> None:
    async with on_air() as air:
        other = await BumbleHost.on_link(air.radio, "other")
        async with air.client() as client:
            assert await BleakScanner.discover(0.2, backend=BumbleScanner, host=other) == []
            assert client.is_connected
        assert len(await BleakScanner.discover(0.2, backend=BumbleScanner, host=other)) == 1
        await other.release()


async def test_what_a_unit_says_of_itself_is_asked_again_after_every_event() -> None:
    changed = FLAGS + bytes((4, 0xFF, 0x07, 0x01))

    async def heard(air: scenery.Air) -> dict[int, bytes]:
        found: Any = await BleakScanner.discover(0.1, return_adv=True, backend=BumbleScanner, host=air.host)
        return found[ADDRESS][1].manufacturer_data if found else {}

    async with on_air() as air:
        async with air.client() as client:
            air.unit.said = changed + b"\x01"
            await client.write_gatt_char(COMMAND, b"-", response=True)
        assert await heard(air) == {0x0107: b"\x01"}
        air.unit.due = asyncio.get_running_loop().time() + 1
        air.peripheral._after()
        await asyncio.sleep(0.01)
        air.unit.said = changed + b"\x02"
        assert await heard(air) == {0x0107: b"\x01"}
        await asyncio.sleep(1)
        assert await heard(air) == {0x0107: b"\x02"}
        air.unit.said = b""
        async with air.client():
            pass
        assert await heard(air) == {}


@pytest.mark.parametrize("size", [32, 38])
async def test_an_advertisement_longer_than_a_radio_sends_is_refused(size: int) -> None:
    unit = Unit()
    unit.said = FLAGS.ljust(size, b"\0")
    with pytest.raises(LockmigrateError, match=f"advertises {size} bytes, 31 fit"):
        await Peripheral(unit, Radio()).start()
    async with on_air() as air:
        air.unit.said = FLAGS.ljust(size, b"\0")
        air.peripheral._after()
        with pytest.raises(LockmigrateError, match="31 fit"):
            await air.peripheral.done


async def test_a_name_that_does_not_fit_is_shortened() -> None:
    for name, told in (("n" * 29, "n" * 29), ("n" * 40, "n" * 29)):
        async with on_air(Unit(name=name)) as air:
            assert (await air.find()).name == told


async def test_a_notification_that_does_not_fit_is_a_fault_and_is_not_cut() -> None:
    """Bumble would cut it without a word; the unit has to fragment."""
    async with on_air() as air, air.client() as client:
        seen = reported()
        got: list[bytes] = []
        await client.start_notify(NOTIFIED, lambda _, data: got.append(bytes(data)))
        await client.write_gatt_char(COMMAND, stream(1, 245), response=True)
        await asyncio.sleep(0.05)
        assert got == []
        assert not client.is_connected
        assert "245 bytes do not fit" in str(seen[0]["exception"])


async def test_a_stream_of_notifications_waits_for_the_controller() -> None:
    async with on_air() as air, air.client() as client:
        queue = air.peripheral.device.host.le_acl_packet_queue
        assert queue is not None
        enqueue, most = queue.enqueue, 0

        def watched(*arguments: Any) -> None:
            nonlocal most
            enqueue(*arguments)
            most = max(most, queue.pending)

        queue.enqueue = watched  # type: ignore[method-assign]
        await client.start_notify(NOTIFIED, lambda *_: None)
        await client.write_gatt_char(COMMAND, stream(500, 244), response=True)
        await asyncio.sleep(1)
        assert 1 < most <= 17


async def test_a_fault_in_the_unit_is_an_answer_and_never_silence() -> None:
    async with on_air() as air, air.client() as client:
        seen = reported()
        started_s = asyncio.get_running_loop().time()
        with pytest.raises(BleakGATTProtocolError) as caught:
            await client.write_gatt_char(COMMAND, b"X", response=True)
        assert caught.value.code == 0x0E
        await client.write_gatt_char(COMMAND, b"X", response=False)
        assert await client.read_gatt_char(VALUE) == b"value"
        assert asyncio.get_running_loop().time() - started_s < 0.05
        assert [type(context["exception"]) for context in seen] == [RuntimeError] * 2


@pytest.mark.parametrize("name", ["connected", "mtu", "subscribed", "tick", "due_s", "disconnected", "advertisement"])
async def test_a_fault_of_the_unit_in_any_other_place_is_reported_and_the_radio_goes_on(name: str) -> None:
    async with on_air() as air:
        device = await air.find()
        seen = reported()
        working = getattr(air.unit, name)

        def fail(*_: object) -> None:
            raise LookupError(name)

        setattr(air.unit, name, fail)
        async with BleakClient(device, backend=BumbleClient) as client:
            await client.start_notify(NOTIFIED, lambda *_: None)
            air.unit.due = asyncio.get_running_loop().time()
            await client.write_gatt_char(COMMAND, b"-", response=True)
            assert await client.read_gatt_char(VALUE) == b"value"
        await asyncio.sleep(0.05)
        assert {str(context["exception"]) for context in seen} == {name}
        setattr(air.unit, name, working)


async def test_a_unit_that_cannot_keep_its_memory_ends_the_service() -> None:
    async with on_air() as air, air.client() as client:

        def write(*_: object) -> list[Emitted]:
            raise FileTrouble("cannot write the state file")

        air.unit.write = write  # type: ignore[method-assign]
        with pytest.raises(BleakGATTProtocolError):
            await client.write_gatt_char(COMMAND, b"-", response=True)
        with pytest.raises(FileTrouble):
            await air.peripheral.done


async def test_what_a_characteristic_cannot_do_is_refused() -> None:
    async with on_air() as air, air.client() as client:
        for data in (b"-", b"-" * 300):
            with pytest.raises(BleakGATTProtocolError) as caught:
                await client.write_gatt_char(ONLY_COMMANDS, data, response=True)
            assert caught.value.code == 0x03
        with pytest.raises(BleakGATTProtocolError) as caught:
            await client.read_gatt_char(NOTIFIED)
        assert caught.value.code == 0x02
        await client.write_gatt_char(VALUE, b"-", response=False)
        await client.write_gatt_char(ONLY_COMMANDS, b"+", response=False)
        await client.read_gatt_char(VALUE)
        assert air.unit.writes == [b"+"]


async def test_an_answer_leaves_after_the_response_to_the_write() -> None:
    async with on_air() as air, air.client() as client:
        waiting: list[bool] = []
        gatt = client._backend._connection.gatt_client  # type: ignore[attr-defined]
        await client.start_notify(NOTIFIED, lambda *_: waiting.append(_answered(gatt)))
        for size in (5, 200, 400):  # the last one is a long write
            await client.write_gatt_char(COMMAND, stream(1).ljust(size, b"-"), response=True)
            await asyncio.sleep(0.01)
        assert waiting == [True] * 3


def _answered(gatt: Any) -> bool:
    """Whether the client has had its answer (its task may not have run yet)."""
    return gatt.pending_response is None or gatt.pending_response.done()


async def test_an_answer_leaves_when_it_is_due_and_not_at_all_after_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with on_air() as air:
        device = await air.find()
        got: list[float] = []
        for patience_s, count in ((2.0, 1), (1.0, 0)):
            got.clear()
            async with BleakClient(device, backend=BumbleClient) as client:
                await client.start_notify(NOTIFIED, lambda *_: got.append(loop.time()))
                written_s = loop.time()
                await client.write_gatt_char(COMMAND, b"D" + (1500).to_bytes(2, "big"), response=True)
                await asyncio.sleep(patience_s)
            await asyncio.sleep(2)
            assert [at_s - written_s for at_s in got] == pytest.approx([1.5] * count, abs=0.01)


async def test_a_unit_is_called_when_it_wants_to_be_and_what_it_says_then_is_sent() -> None:
    loop = asyncio.get_running_loop()
    async with on_air() as air, air.client() as client:
        got: list[float] = []
        await client.start_notify(NOTIFIED, lambda *_: got.append(loop.time()))
        due_s = air.unit.due = loop.time() + 1
        air.unit.ticked = [Emitted(at_s=due_s, uuid=NOTIFIED, data=b"tick")]
        await client.write_gatt_char(COMMAND, b"-", response=True)
        await asyncio.sleep(2)
        assert got == pytest.approx([due_s], abs=0.01)


async def test_a_unit_that_wants_to_be_called_for_ever_does_not_stop_the_world() -> None:
    async with on_air() as air:

        def tick(_: float) -> list[Emitted]:
            air.unit.events.append("tick")
            return []

        air.unit.tick = tick  # type: ignore[method-assign]
        air.unit.due = asyncio.get_running_loop().time()
        async with air.client() as client:
            assert await client.read_gatt_char(VALUE) == b"value"
        assert 0 < air.unit.events.count("tick") < 20


async def test_a_unit_that_is_switched_off_says_so_to_its_client() -> None:
    radio = Radio()
    peripheral = Peripheral(Unit(), radio)
    await peripheral.start()
    host = await BumbleHost.on_link(radio)
    device = await BleakScanner.find_device_by_address(ADDRESS, 1, backend=BumbleScanner, host=host)
    assert device is not None
    client = BleakClient(device, backend=BumbleClient)
    await client.connect()
    await peripheral.stop()
    await asyncio.sleep(0.01)
    assert reason(client) == 0x15
    await host.release()
    assert radio.controllers == set()


# ---- where it is served ----------------------------------------------------------------------------------------------


def test_a_target_with_any_path_in_it_is_read_as_it_was_meant() -> None:
    for hci in ("tcp-client:127.0.0.1:4001", "unix:/run/a lock.hci", "unix:/tmp/50%&a=b?c#d", "unix:/tmp/ä"):
        text = target_of(ADDRESS, hci)
        target = parse_target(text)
        assert (target.scheme, target.address, target.options) == ("ble", ADDRESS, {"hci": hci})
    assert target_of(ADDRESS, "tcp-client:127.0.0.1:1") == f"ble://{ADDRESS}?hci=tcp-client:127.0.0.1:1"
    assert target_of(ADDRESS, "unix:/tmp/lock") == f"ble://{ADDRESS}?hci=unix:/tmp/lock"


@pytest.mark.parametrize("spec", ["", "tcp", "tcp:", "tcp:70000", "tcp:0.0.0.0:1", "udp:1", "unix:", "unix:/a\n"])
async def test_a_place_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="no place to serve"):
        await serve_hci(Radio(), spec)


@pytest.mark.real_time
async def test_a_port_that_is_taken_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(ConnectError, match="cannot listen"):
        await serve_hci(Radio(), f"tcp:{held.getsockname()[1]}")


@needs_unix
@pytest.mark.real_time
async def test_a_socket_is_ours_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "hci"
    server = await serve_hci(Radio(), f"unix:{path}")
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0  # noqa: PTH116
    with pytest.raises(ConnectError, match="somebody does already"):
        await serve_hci(Radio(), f"unix:{path}")
    await server.close()
    assert not os.path.exists(path)  # noqa: ASYNC240, PTH110
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = await serve_hci(Radio(), f"unix:{path}")
    await server.close()


@needs_unix
@pytest.mark.real_time
async def test_a_path_where_no_socket_can_be_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not ours")
    for place in (tmp_path / "file", tmp_path / "nowhere" / "hci", tmp_path / ("long" * 60)):
        with pytest.raises(ConnectError, match="cannot listen on"):
            await serve_hci(Radio(), f"unix:{place}")
    assert (tmp_path / "file").read_text() == "not ours"


@pytest.mark.real_time
async def test_a_host_is_shared_by_all_and_closed_by_the_last() -> None:
    server = await serve_hci(Radio(), "tcp:0")
    first, second = await asyncio.gather(bumble_host(server.hci), bumble_host(server.hci))
    assert first is second
    assert len(server.clients) == 1
    await first.release()
    await asyncio.sleep(0.02)
    assert len(server.clients) == 1
    await second.release()
    await asyncio.sleep(0.02)
    assert server.clients == set()
    third = await bumble_host(server.hci)
    assert third is not first
    await server.close()
    await asyncio.sleep(0.02)
    assert third.lost
    with pytest.raises(BleakError, match="is gone"):
        await BleakScanner(backend=BumbleScanner, host=third).start()
    with pytest.raises(ConnectError, match="nothing listens"):
        await bumble_host(server.hci)
    await third.release()


@pytest.mark.real_time
async def test_a_client_that_hangs_up_its_socket_is_out_of_reach_for_the_unit() -> None:
    unit = Unit()
    radio = Radio()
    async with Peripheral(unit, radio) as peripheral:
        server = await serve_hci(radio, "tcp:0")
        async with connected(server.hci) as client:
            for one in tuple(server.clients):
                one.close()
            await asyncio.sleep(0.05)
            assert not client.is_connected
            assert reason(client) == 0
        assert unit.events[-1] == "disconnected"
        assert not peripheral.connected
        async with connected(server.hci) as client:
            assert await client.read_gatt_char(VALUE) == b"value"
        await server.close()


@pytest.mark.real_time
async def test_units_are_served_until_the_end_and_their_memory_is_kept() -> None:
    units = [Served(Unit()), Served(Unit(OTHER))]
    told: asyncio.Queue[ServedOnAir] = asyncio.Queue()
    serving = asyncio.ensure_future(serve_ble(list(units), "tcp:0", lambda _, at: told.put_nowait(at)))
    first, second = await told.get(), await told.get()
    assert [parse_target(at.target).address for at in (first, second)] == [ADDRESS, OTHER]
    assert first.hci == second.hci == f"tcp-client:127.0.0.1:{first.port}"
    assert [unit.saved for unit in units] == [0, 0]
    serving.cancel()
    await asyncio.wait({serving})
    assert [unit.saved for unit in units] == [1, 1]


async def test_units_that_cannot_be_served_together_are_refused() -> None:
    wired = sim.open_unit(load_profile("r503"), "empty")
    with pytest.raises(ConfigError, match="has no Bluetooth"):
        await serve_ble([wired], "tcp:0", lambda *_: None)
    with pytest.raises(ConfigError, match="two units have the address"):
        await serve_ble([Served(Unit()), Served(Unit())], "tcp:0", lambda *_: None)


# ---- in other processes ----------------------------------------------------------------------------------------------


@dataclass
class Process:
    """A simulator in a process of its own."""

    child: subprocess.Popen[str]
    targets: list[str]
    hci: str
    kept: Path


@contextlib.contextmanager
def process(where: str, folder: Path, *addresses: str) -> Iterator[Process]:
    """Serve units at these addresses."""
    kept = folder / "kept"
    command = [sys.executable, scenery.__file__, "serve", where, str(kept), *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            lines = [child.stdout.readline().rstrip("\n").split("\t") for _ in addresses or [ADDRESS]]
            yield Process(child, [line[0] for line in lines], lines[0][1], kept)
        finally:
            child.kill()


@contextlib.asynccontextmanager
async def connected(hci: str, address: str = ADDRESS) -> AsyncIterator[BleakClient]:
    """Connect to a served unit as lockmigrate does."""
    host = await bumble_host(hci)
    try:
        found = await BleakScanner.find_device_by_address(address, 5, backend=BumbleScanner, host=host)
        assert found is not None
        async with BleakClient(found, backend=BumbleClient) as client:
            yield client
    finally:
        await host.release()


@pytest.fixture(scope="module", params=["tcp", pytest.param("unix", marks=needs_unix)])
def simulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Two units on one radio, served both ways."""
    folder = tmp_path_factory.mktemp("served")
    where = "tcp:0" if request.param == "tcp" else f"unix:{folder / 'hci'}"
    with process(where, folder, ADDRESS, OTHER) as served:
        yield served


@pytest.mark.real_time
async def test_a_unit_in_another_process_answers_and_streams_in_order(simulator: Process) -> None:
    async with connected(simulator.hci) as client:
        got: list[bytes] = []
        done = asyncio.Event()

        def heard(_: object, data: bytearray) -> None:
            got.append(bytes(data[:2]))
            if len(got) == 300:
                done.set()

        assert await client.read_gatt_char(VALUE) == b"value"
        await client.start_notify(NOTIFIED, heard)
        await client.write_gatt_char(COMMAND, stream(300, 244).ljust(400, b"-"), response=True)
        async with asyncio.timeout(5):
            await done.wait()
        assert got == [number(index) for index in range(300)]


@pytest.mark.real_time
async def test_a_unit_in_another_process_is_opened_by_the_target_that_was_printed(simulator: Process) -> None:
    target = parse_target(simulator.targets[1])
    connection = await open_ble(target.address, hci=target.options["hci"])
    try:
        assert connection.advertised.name == "a lock with a long name"
        link = await connection.link(Channel(write=COMMAND, notify=NOTIFIED, response=True))
        await link.write(b"P and back")
        async with asyncio.timeout(5):
            assert await link.read() == b"P and back"
            await link.write(b"L")
            with pytest.raises(LinkLost):
                await link.read()
    finally:
        await connection.close()


@pytest.mark.real_time
async def test_two_units_on_one_radio_are_spoken_to_at_once_by_two_clients(simulator: Process) -> None:
    assert [parse_target(target).options["hci"] for target in simulator.targets] == [simulator.hci] * 2
    async with connected(simulator.hci) as first, connected(simulator.hci, OTHER) as second:
        assert await asyncio.gather(first.read_gatt_char(VALUE), second.read_gatt_char(VALUE)) == [b"value"] * 2


@pytest.mark.real_time
async def test_after_a_client_that_was_killed_in_the_middle_the_next_one_finds_the_unit(simulator: Process) -> None:
    command = [sys.executable, scenery.__file__, "die", simulator.hci]
    child = await asyncio.create_subprocess_exec(*command)
    assert await child.wait() == 9
    async with connected(simulator.hci) as client:
        assert await client.read_gatt_char(VALUE) == b"value"


@pytest.mark.real_time
async def test_when_the_simulator_is_killed_a_read_that_waits_ends_at_once(tmp_path: Path) -> None:
    with process("tcp:0", tmp_path) as served:
        async with connected(served.hci) as client:
            child = served.child
            os.kill(child.pid, signal.SIGSTOP)
            reading = asyncio.ensure_future(client.read_gatt_char(VALUE))
            await asyncio.sleep(0.05)
            assert not reading.done()
            killed_s = time.monotonic()
            child.kill()
            with pytest.raises(BleakError, match="lost"):
                await reading
            assert time.monotonic() - killed_s < 0.5
            assert not client.is_connected


def test_a_simulator_that_is_asked_to_end_keeps_its_memory(tmp_path: Path) -> None:
    with process("tcp:0", tmp_path) as served:
        served.child.terminate()
        assert served.child.wait(5) == 0
        assert served.kept.read_text() == "kept"


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def on_bluetooth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every simulated zk unit is one on Bluetooth."""
    real = sim.open_unit

    def open_unit(profile: Any, *arguments: Any, **options: Any) -> Any:
        unit = real(profile, *arguments, **options)
        if profile.family == "zk":
            unit.gatt_device = Unit()
        return unit

    monkeypatch.setattr(sim, "open_unit", open_unit)


@pytest.mark.usefixtures("on_bluetooth")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["r503/empty", "--hci", "tcp:0"], "has no Bluetooth"),
        (["zk/empty", "--tcp"], "--tcp does not go with a unit on Bluetooth"),
        (["zk/empty", "--udp", "0"], "--udp does not go with a unit on Bluetooth"),
        (["zk/empty", "r503/empty"], "is not on Bluetooth as the others are"),
        (["zk/empty", "--hci", "usb:0"], "is no place to serve Bluetooth at"),
        (["zk/empty", "zk/empty"], "two units have the address"),
    ],
)
def test_what_does_not_go_together_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["sim", "serve", *arguments, "--json"]) == 2
    assert words in json.loads(capsys.readouterr().err)["message"]


def test_without_bumble_serving_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on_bluetooth: None
) -> None:
    monkeypatch.setitem(sys.modules, "lockmigrate.sim.serve_ble", None)
    assert main(["sim", "serve", "zk/empty", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["hint"] == 'pip install "lockmigrate[sim]"'


@pytest.mark.real_time
@pytest.mark.parametrize("where", ["tcp:0", pytest.param("unix", marks=needs_unix)])
async def test_the_line_of_sim_serve_holds_all_that_a_client_needs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, where: str
) -> None:
    unit = Served(Unit())
    spec = f"unix:{tmp_path / 'hci'}" if where == "unix" else where
    serving = asyncio.ensure_future(sim_cmd._serve_on_air([unit], spec, as_json=True))
    line = ""
    while not line:
        await asyncio.sleep(0.01)
        line = capsys.readouterr().out
    said = json.loads(line)
    assert sorted(said) == ["credential", "device", "hci", "port", "target"]
    assert said["credential"] == unit.credential
    assert said["device"] is None
    assert (said["port"] is None) == (where == "unix")
    target = parse_target(said["target"])
    assert target.address == ADDRESS
    assert target.options["hci"] == said["hci"]
    async with connected(said["hci"]) as client:
        assert await client.read_gatt_char(VALUE) == b"value"
    serving.cancel()
    await asyncio.wait({serving})
    assert unit.saved == 1

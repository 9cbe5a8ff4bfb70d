"""bleak's back end on Bumble, against a unit on a simulated radio in the same process: every trap of Bumble's."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import socket
import sys
from pathlib import Path

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bumble.pairing import PairingConfig, PairingDelegate
from on_air import (
    ADDRESS,
    COMMAND,
    FLAGS,
    INDICATED,
    LONG,
    NOTIFIED,
    SERVICE,
    VALUE,
    Air,
    Unit,
    on_air,
    reason,
    reported,
    stream,
)

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason, LockmigrateError, TargetError
from lockmigrate.sim.radio import Radio
from lockmigrate.transports import bumble_host as host_module
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner, advertised, bumble_host

PASSKEY = 123456


class Passkey(PairingDelegate):
    """One side of a pairing by passkey: the unit shows it, the person types it."""

    def __init__(self, *, shows: bool, typed: int = PASSKEY) -> None:
        capability = PairingDelegate.DISPLAY_OUTPUT_ONLY if shows else PairingDelegate.KEYBOARD_INPUT_ONLY
        super().__init__(io_capability=capability)
        self.typed = typed

    async def generate_passkey(self) -> int:
        return PASSKEY

    async def display_number(self, number: int, digits: int) -> None:
        pass

    async def get_number(self) -> int:
        return self.typed


def by_passkey(air: Air, typed: int) -> None:
    """Have both sides pair by passkey, with what the person types."""
    air.peripheral.device.pairing_config_factory = lambda _: PairingConfig(delegate=Passkey(shows=True))
    air.host.device.pairing_config_factory = lambda _: PairingConfig(delegate=Passkey(shows=False, typed=typed))


# ---- trap 1: link loss looks like cancellation -----------------------------------------------------------------------


async def test_a_link_that_is_lost_during_a_read_is_an_error_and_no_cancellation() -> None:
    async with on_air() as air, air.client() as client:
        air.radio.lose_at(1)
        with pytest.raises(BleakError, match="lost"):
            await client.read_gatt_char(VALUE)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert not client.is_connected
        assert reason(client) == 0x08


async def test_all_requests_that_wait_end_at_once_when_the_link_is_lost() -> None:
    """Also those behind the one that is on its way, which Bumble would send into the void and wait 30 s for."""
    async with on_air() as air, air.client() as client:
        started_s = asyncio.get_running_loop().time()
        air.radio.lose_at(2)
        reads = [asyncio.ensure_future(client.read_gatt_char(VALUE)) for _ in range(3)]
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(result) for result in results] == [BleakError] * 3
        assert asyncio.get_running_loop().time() - started_s < 0.05


async def test_a_loss_is_told_within_50_ms_and_once() -> None:
    gone: list[float] = []
    loop = asyncio.get_running_loop()
    async with on_air() as air:
        client = BleakClient(await air.find(), lambda _: gone.append(loop.time()), backend=BumbleClient)
        await client.connect()
        lost_s = loop.time()
        air.radio.lose_all()
        await asyncio.sleep(0.05)
        assert len(gone) == 1
        assert gone[0] - lost_s < 0.05
        with pytest.raises(BleakError, match="not connected"):
            await client.read_gatt_char(VALUE)


async def test_a_caller_that_is_cancelled_stays_cancelled_when_the_link_goes_too() -> None:
    async with on_air(interval_s=0.01) as air, air.client() as client:
        reading = asyncio.ensure_future(client.read_gatt_char(VALUE))
        await asyncio.sleep(0.005)
        reading.cancel()
        air.radio.lose_all()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_a_caller_that_is_cancelled_at_the_very_end_of_the_link_stays_cancelled() -> None:
    async with on_air(interval_s=0.01) as air:
        client = BleakClient(await air.find(), lambda _: reading.cancel(), backend=BumbleClient)
        await client.connect()
        ahead = [asyncio.ensure_future(client.read_gatt_char(VALUE)) for _ in range(2)]
        reading = asyncio.ensure_future(client.read_gatt_char(VALUE))
        await asyncio.sleep(0.005)
        air.radio.lose_all()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert [type(it) for it in await asyncio.gather(*ahead, return_exceptions=True)] == [BleakError] * 2


# ---- trap 2: a cancelled request poisons the next --------------------------------------------------------------------


async def test_the_answer_to_a_request_that_was_given_up_is_not_taken_for_the_next_ones() -> None:
    async with on_air(interval_s=0.0075) as air, air.client() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.read_gatt_char(VALUE)
        assert len(await client.read_gatt_char(LONG)) == 512
        assert await client.read_gatt_char(VALUE) == b"value"


# ---- trap 3: oversize write commands ---------------------------------------------------------------------------------


async def test_a_write_command_that_does_not_fit_is_refused_and_nothing_is_sent() -> None:
    async with on_air() as air, air.client() as client:
        await client.write_gatt_char(COMMAND, b"-" * 244, response=False)
        with pytest.raises(BleakError, match="245 bytes do not fit"):
            await client.write_gatt_char(COMMAND, b"-" * 245, response=False)
        assert await client.read_gatt_char(VALUE) == b"value"
        assert [len(data) for data in air.unit.writes] == [244]


async def test_a_write_request_that_does_not_fit_goes_as_one_long_write() -> None:
    async with on_air() as air, air.client() as client:
        await client.write_gatt_char(COMMAND, bytes(range(250)) * 2, response=True)
        assert air.unit.writes == [bytes(range(250)) * 2]
        with pytest.raises(BleakError, match="513 bytes do not fit"):
            await client.write_gatt_char(COMMAND, b"-" * 513, response=True)


async def test_the_mtu_is_the_smaller_of_both() -> None:
    async with on_air(Unit(max_mtu=100)) as air, air.client() as client:
        assert client.mtu_size == 100
        characteristic = client.services.get_characteristic(COMMAND)
        assert characteristic is not None
        assert characteristic.max_write_without_response_size == 97
        assert 100 in air.unit.events
    assert client.mtu_size == 23


# ---- trap 5: what scans report ---------------------------------------------------------------------------------------


async def test_a_scan_tells_name_and_services_once_though_reports_keep_coming() -> None:
    async with on_air() as air:
        heard = []
        async with BleakScanner(
            lambda device, said: heard.append((device, said)), backend=BumbleScanner, host=air.host
        ):
            await asyncio.sleep(0.2)
            air.unit.said = FLAGS
            air.peripheral._after()
            await asyncio.sleep(0.2)
        assert [(device.address, said.local_name) for device, said in heard] == [(ADDRESS, air.unit.name)] * 2
        assert [said.service_uuids for _, said in heard] == [[SERVICE], []]
        assert heard[0][1].rssi == -50


async def test_a_scan_for_a_service_hears_no_other_units() -> None:
    async with on_air() as air:
        for wanted, count in (([SERVICE], 1), ([VALUE], 0)):
            async with BleakScanner(None, wanted, backend=BumbleScanner, host=air.host) as scanner:
                await asyncio.sleep(0.1)
                assert len(scanner.discovered_devices) == count


async def test_malformed_advertisements_do_no_harm() -> None:
    async with on_air() as air:
        for said in (b"\xff", b"\x00\x00", bytes((3, 0x09)), bytes((2, 0x16, 0x01)), bytes((4, 0xFF, 1, 2, 3))):
            air.unit.said = said
            air.peripheral._after()
            await air.find()


def test_what_is_malformed_is_left_out_and_the_rest_is_kept() -> None:
    said = advertised(bytes.fromhex("02010602ff01020a0403030f1802160105ff0701aabb09ff"), -70)
    assert said.rssi == -70
    assert said.tx_power == 4
    assert said.service_uuids == ["0000180f-0000-1000-8000-00805f9b34fb"]
    assert said.manufacturer_data == {0x0107: b"\xaa\xbb"}
    assert said.service_data == {}
    assert said.local_name is None


# ---- trap 6: order ---------------------------------------------------------------------------------------------------


async def test_write_commands_arrive_in_order() -> None:
    sent = [b"-" + number.to_bytes(2, "big") for number in range(200)]
    async with on_air() as air, air.client() as client:
        for data in sent:
            await client.write_gatt_char(COMMAND, data, response=False)
        await client.read_gatt_char(VALUE)
        assert air.unit.writes == sent


# ---- trap 7: what the unit refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x03, 0x0E, 0x80, 0x9F, 0xFC])
async def test_a_refusal_arrives_as_bleaks_protocol_error_with_a_plain_number(code: int) -> None:
    async with on_air() as air, air.client() as client:
        with pytest.raises(BleakGATTProtocolError) as caught:
            await client.write_gatt_char(COMMAND, b"E" + bytes((code,)), response=True)
        assert caught.value.code == code
        assert type(caught.value.args[0]) is int
        assert await client.read_gatt_char(VALUE) == b"value"


# ---- trap 8: no back pressure ----------------------------------------------------------------------------------------


async def test_write_commands_wait_for_the_controller() -> None:
    async with on_air() as air, air.client() as client:
        queue = air.host.device.host.le_acl_packet_queue
        assert queue is not None
        completed, loop = queue.on_packets_completed, asyncio.get_running_loop()
        queue.on_packets_completed = lambda *it: loop.call_later(0.01, completed, *it)  # type: ignore[method-assign]
        most = 0
        for _ in range(100):
            await client.write_gatt_char(COMMAND, b"-" * 244, response=False)
            most = max(most, queue.pending)
        assert 1 < most <= 17
        await asyncio.sleep(0.1)
        assert len(air.unit.writes) == 100


async def test_notifications_and_indications_come_in_order_and_all() -> None:
    async with on_air() as air, air.client() as client:
        got: list[bytes] = []
        for uuid, indicated in ((NOTIFIED, False), (INDICATED, True)):
            got.clear()
            await client.start_notify(uuid, lambda _, data: got.append(bytes(data)))
            await client.write_gatt_char(COMMAND, stream(100, 200, indicated=indicated), response=True)
            await asyncio.sleep(1)
            assert [int.from_bytes(data[:2], "big") for data in got] == list(range(100))
            assert {len(data) for data in got} == {200}


async def test_after_the_end_of_a_subscription_nothing_comes() -> None:
    async with on_air() as air, air.client() as client:
        got: list[bytes] = []
        await client.start_notify(NOTIFIED, lambda _, data: got.append(bytes(data)))
        await client.stop_notify(NOTIFIED)
        await client.write_gatt_char(COMMAND, b"P", response=True)
        await client.read_gatt_char(VALUE)
        assert got == []
        assert air.unit.events[-2:] == [(NOTIFIED, True), (NOTIFIED, False)]


async def test_a_characteristic_that_sends_nothing_cannot_be_subscribed_to() -> None:
    async with on_air() as air, air.client() as client:
        with pytest.raises(BleakError, match="sends nothing by itself"):
            await client.start_notify(VALUE, lambda *_: None)


# ---- traps 9 to 11: pairing ------------------------------------------------------------------------------------------


async def test_after_a_wrong_passkey_the_link_is_dropped_and_the_right_one_works_on_a_new_one() -> None:
    async with on_air(encrypted={VALUE}) as air:
        by_passkey(air, typed=PASSKEY + 1)
        async with air.client() as client:
            with pytest.raises(BleakError, match="pairing failed"):
                await client.pair()
            assert not client.is_connected
            by_passkey(air, typed=PASSKEY)
        async with air.client() as client:
            await client.pair()
            assert await client.read_gatt_char(VALUE) == b"value"


async def test_pairing_that_never_ends_is_given_up() -> None:
    async with on_air() as air:
        never = asyncio.Event()

        class Undecided(Passkey):
            async def get_number(self) -> int:
                await never.wait()
                return 0

        by_passkey(air, typed=PASSKEY)
        air.host.device.pairing_config_factory = lambda _: PairingConfig(delegate=Undecided(shows=False))
        async with air.client(pair_limit_s=0.5) as client:
            with pytest.raises(BleakError, match=r"longer than 0\.5 s"):
                await client.pair()
            assert not client.is_connected
        never.set()
        await asyncio.sleep(0.01)


async def test_what_needs_encryption_is_refused_before_pairing_and_read_after_it() -> None:
    async with on_air(encrypted={VALUE}) as air, air.client() as client:
        with pytest.raises(BleakGATTProtocolError) as caught:
            await client.read_gatt_char(VALUE)
        assert caught.value.code == 0x0F
        await client.pair()
        assert await client.read_gatt_char(VALUE) == b"value"


async def test_a_new_link_to_a_unit_that_we_are_bonded_with_is_encrypted_by_itself() -> None:
    async with on_air(encrypted={VALUE}) as air:
        async with air.client(pair=True) as client:
            assert await client.read_gatt_char(VALUE) == b"value"
        async with air.client() as client:
            assert await client.read_gatt_char(VALUE) == b"value"
            await client.pair()
            await client.unpair()
        async with air.client() as client:
            with pytest.raises(BleakGATTProtocolError):
                await client.read_gatt_char(VALUE)


async def test_a_unit_that_has_forgotten_the_bond_is_said_to_have() -> None:
    async with on_air() as air:
        async with air.client(pair=True):
            pass
        await air.peripheral.device.keystore.delete_all()  # type: ignore[union-attr]
        with pytest.raises(BleakError, match="does not take up the bond"):
            async with air.client():
                pass
        assert not air.peripheral.connected


async def test_bonds_leave_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    async with on_air() as air, air.client(pair=True):
        assert list(air.host.keystore.all_keys) == [ADDRESS]
    assert os.listdir(tmp_path) == []  # noqa: PTH208


# ---- trap 12: faulty listeners ---------------------------------------------------------------------------------------


async def test_a_faulty_scan_listener_is_reported_and_harms_no_other() -> None:
    def fail(_device: object, _said: object) -> None:
        raise LookupError("a fault of a listener's")

    async with on_air() as air:
        seen = reported()
        heard: list[object] = []
        async with (
            BleakScanner(fail, backend=BumbleScanner, host=air.host),
            BleakScanner(lambda device, said: heard.append((device, said)), backend=BumbleScanner, host=air.host),
        ):
            await asyncio.sleep(0.1)
        assert len(heard) == 1
        assert [type(context["exception"]) for context in seen] == [LookupError]


async def test_a_faulty_listener_to_indications_still_gets_the_next_one() -> None:
    async with on_air() as air, air.client() as client:
        seen = reported()
        got: list[bytes] = []

        def fail(_: object, data: bytearray) -> None:
            got.append(bytes(data))
            raise LookupError("a fault of a listener's")

        await client.start_notify(INDICATED, fail)
        await client.write_gatt_char(COMMAND, stream(3, indicated=True), response=True)
        await asyncio.sleep(0.1)
        assert len(got) == 3
        assert len(seen) == 3


async def test_a_faulty_listener_to_the_end_of_a_link_is_reported() -> None:
    def fail(_: object) -> None:
        raise LookupError("a fault of a listener's")

    async with on_air() as air:
        seen = reported()
        client = BleakClient(await air.find(), fail, backend=BumbleClient)
        await client.connect()
        await client.disconnect()
        await asyncio.sleep(0.05)
        assert len(seen) == 1
        async with air.client():
            pass


# ---- trap 13: Bumble is optional -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["lockmigrate.transports.bumble", "lockmigrate.transports.bumble_host"])
def test_without_bumble_a_clean_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, "bumble", None)
    monkeypatch.delitem(sys.modules, "lockmigrate.transports.bumble")
    monkeypatch.delitem(sys.modules, "lockmigrate.transports.bumble_host")
    with pytest.raises(ConfigError, match="bumble") as caught:
        importlib.import_module(module)
    assert caught.value.hint == 'pip install "lockmigrate[sim]"'


# ---- trap 14: one device per controller ------------------------------------------------------------------------------


async def test_the_scan_runs_until_the_last_listener_leaves() -> None:
    async with on_air() as air:
        first = BleakScanner(backend=BumbleScanner, host=air.host)
        second = BleakScanner(backend=BumbleScanner, host=air.host)
        await first.start()
        await second.start()
        await first.stop()
        await first.stop()
        await asyncio.sleep(0.1)
        assert len(second.discovered_devices) == 1
        assert air.host.device.is_scanning
        await second.stop()
        assert not air.host.device.is_scanning


async def test_a_scan_goes_on_while_a_client_connects_and_talks() -> None:
    async with on_air() as air, BleakScanner(backend=BumbleScanner, host=air.host), air.client() as client:
        assert await client.read_gatt_char(VALUE) == b"value"


# ---- connecting ------------------------------------------------------------------------------------------------------


async def test_an_address_alone_is_looked_for_first() -> None:
    async with on_air() as air:
        async with BleakClient(ADDRESS.lower(), backend=BumbleClient, host=air.host) as client:
            assert client.is_connected
            assert client.name == ADDRESS.lower().replace(":", "-")
        nobody = BleakClient("C0:00:00:00:00:99", backend=BumbleClient, host=air.host, timeout=0.5)
        with pytest.raises(BleakDeviceNotFoundError):
            await nobody.connect()
        assert not air.host.device.is_scanning
    with pytest.raises(BleakError, match="needs host="):
        BleakClient(ADDRESS, backend=BumbleClient)


async def test_a_unit_with_a_public_address_can_be_connected_to() -> None:
    unit = Unit(address="54:D2:72:00:00:01")
    async with on_air(unit) as air:
        device = await air.find(unit.address)
        assert device.details["address"].is_public
        async with BleakClient(device, backend=BumbleClient) as client:
            assert await client.read_gatt_char(VALUE) == b"value"


async def test_connecting_to_a_unit_that_is_gone_ends_in_time_and_the_next_one_works() -> None:
    """Bumble waits for ever for its own software controller to say that it gave up."""
    async with on_air() as air:
        device = await air.find()
        said, air.unit.said = air.unit.said, b""
        air.peripheral._after()
        await asyncio.sleep(0.01)
        client = BleakClient(device, backend=BumbleClient, timeout=1)
        started_s = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await client.connect()
        assert asyncio.get_running_loop().time() - started_s < 1.1
        air.unit.said = said
        air.peripheral._after()
        await client.connect()
        await client.disconnect()


async def test_a_connection_attempt_that_is_cancelled_leaves_the_unit_free() -> None:
    async with on_air() as air:
        device = await air.find()
        for steps in range(0, 60, 3):
            client = BleakClient(device, backend=BumbleClient)
            connecting = asyncio.ensure_future(client.connect())
            for _ in range(steps):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait({connecting})
            if connecting.cancelled():
                assert not client.is_connected
                await asyncio.sleep(0.05)
                assert not air.peripheral.connected
            await client.disconnect()


async def test_a_link_that_is_lost_while_it_is_set_up_is_an_error_whatever_was_on_its_way() -> None:
    """Cut at the n-th packet, until one attempt gets through."""
    async with on_air() as air:
        device = await air.find()
        for packet in itertools.count(1):
            calls: list[object] = []
            client = BleakClient(device, calls.append, backend=BumbleClient)
            air.radio.lose_at(packet)
            try:
                await client.connect()
            except BleakError:
                assert not client.is_connected
                assert calls == []
                continue
            break
        assert packet > 10
        air.radio.lose_all()
        await asyncio.sleep(0)
        await client.disconnect()


async def test_only_one_of_two_clients_gets_the_unit_and_the_other_gets_it_later() -> None:
    async with on_air() as air:
        other = await BumbleHost.on_link(air.radio, "other")
        one = BleakClient(await air.find(), backend=BumbleClient, timeout=1)
        two = BleakClient(ADDRESS, backend=BumbleClient, timeout=1, host=other)
        two._backend._address = one._backend._address  # type: ignore[attr-defined]
        first, second = await asyncio.gather(one.connect(), two.connect(), return_exceptions=True)
        assert {type(first), type(second)} == {type(None), TimeoutError}
        winner, loser = (one, two) if first is None else (two, one)
        assert await winner.read_gatt_char(VALUE) == b"value"
        await winner.disconnect()
        await loser.connect()
        assert await loser.read_gatt_char(VALUE) == b"value"
        await loser.disconnect()
        await other.release()


async def test_a_client_tells_who_hung_up() -> None:
    async with on_air() as air:
        async with air.client() as client:
            await client.disconnect()
            assert reason(client) == 0x16
            await client.disconnect()
        async with air.client() as client:
            await client.write_gatt_char(COMMAND, b"H", response=True)
            await asyncio.sleep(0.01)
            assert reason(client) == 0x13
        async with air.client() as client:
            await client.write_gatt_char(COMMAND, b"L", response=True)
            await asyncio.sleep(0.01)
            assert reason(client) == 0x08


async def test_only_the_services_that_were_asked_for_are_learned() -> None:
    async with on_air() as air, air.client(services=[SERVICE]) as client:
        assert [service.uuid for service in client.services] == [SERVICE]
    async with on_air() as air, air.client() as client:
        assert len(list(client.services)) > 1


async def test_a_client_is_connected_once_only() -> None:
    async with on_air() as air, air.client() as client:
        with pytest.raises(BleakError, match="already connected"):
            await client.connect()


async def test_a_unit_that_answers_nothing_for_30_s_is_given_up() -> None:
    """The transaction time-out of ATT: after it nothing more may be asked on that link."""
    async with on_air() as air, air.client() as client:
        air.peripheral._server.on_att_read_request = lambda *_: None  # type: ignore[method-assign]
        with pytest.raises(BleakError, match="does not answer"):
            await client.read_gatt_char(VALUE)
        assert not client.is_connected


# ---- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hci", "kind", "words"),
    [
        ("nonsense:1", TargetError, "names no Bluetooth controller"),
        ("", TargetError, "names no Bluetooth controller"),
        ("usb", TargetError, "names no Bluetooth controller"),
        ("usb:", TargetError, "names no Bluetooth controller"),
        ("tcp-client:127.0.0.1", TargetError, "names no Bluetooth controller"),
        ("tcp-client:127.0.0.1:70000", TargetError, "names no Bluetooth controller"),
        ("tcp-client:127.0.0.1:x", TargetError, "names no Bluetooth controller"),
        ("tcp-server:127.0.0.1:4000", TargetError, "names no Bluetooth controller"),
        ("unix:/nowhere/at/all", ConnectError, "nothing listens"),
        ("serial:/dev/ttyNowhere", ConnectError, "there is no port"),
    ],
)
@pytest.mark.real_time
async def test_what_cannot_be_opened_is_said_plainly(hci: str, kind: type[LockmigrateError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        await bumble_host(hci)
    assert caught.value.hint


async def test_a_misspelt_controller_is_put_right() -> None:
    with pytest.raises(TargetError) as caught:
        await bumble_host("tcp-cleint:127.0.0.1:1")
    assert caught.value.hint == 'did you mean "tcp-client:127.0.0.1:PORT"?'


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (PermissionError(13, "no"), ConnectReason.NO_PERMISSION),
        (type("USBErrorAccess", (Exception,), {})("no"), ConnectReason.NO_PERMISSION),
        (type("USBErrorBusy", (Exception,), {})("no"), ConnectReason.BUSY),
        (ValueError("device already in use"), ConnectReason.BUSY),
        (host_module.TransportInitError("device not found"), ConnectReason.NOT_FOUND),
        (RuntimeError("something else"), ConnectReason.FAILED),
        (OSError(5, "io"), ConnectReason.FAILED),
        (FileNotFoundError(2, "no"), ConnectReason.NOT_FOUND),
        (type("NoBackendError", (ValueError,), {})("no"), ConnectReason.FAILED),
    ],
)
async def test_what_a_dongle_answers_becomes_a_reason(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: ConnectReason
) -> None:
    async def fail(_: str) -> object:
        raise raised

    monkeypatch.setattr(host_module, "open_transport", fail)
    with pytest.raises(ConnectError) as caught:
        await bumble_host("usb:0")
    assert caught.value.reason is expected
    assert caught.value.hint


@pytest.mark.parametrize(
    ("raised", "expected"), [(ImportError("no grpc"), ConfigError), (AssertionError(), TargetError)]
)
async def test_other_trouble_with_a_dongles_name_is_the_configurations(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[LockmigrateError]
) -> None:
    async def fail(_: str) -> object:
        raise raised

    monkeypatch.setattr(host_module, "open_transport", fail)
    with pytest.raises(expected):
        await bumble_host("usb:0")


@pytest.mark.real_time
async def test_a_port_where_nobody_listens_is_not_found() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectError) as caught:
            await bumble_host(f"tcp-client:127.0.0.1:{held.getsockname()[1]}")
    assert caught.value.reason is ConnectReason.NOT_FOUND


@pytest.mark.real_time
@pytest.mark.parametrize("behaviour", ["silent", "hangs up", "talks nonsense"])
async def test_a_port_with_no_controller_behind_it_is_given_up(monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    monkeypatch.setattr(host_module, "ANSWER_LIMIT_S", 0.1)
    clients: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        await reader.read(1)
        if behaviour == "hangs up":
            writer.close()
        elif behaviour == "talks nonsense":
            writer.write(b"SSH-2.0-none\r\n" + os.urandom(64))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectError, match=r"no Bluetooth controller answers|does not work"):
        await bumble_host(f"tcp-client:127.0.0.1:{port}")
    for writer in clients:
        writer.close()
    server.close()
    await asyncio.sleep(0.01)


async def test_a_host_that_was_let_go_says_so() -> None:
    radio = Radio()
    host = await BumbleHost.on_link(radio)
    await host.release()
    with pytest.raises(BleakError, match="closed"):
        await BleakScanner(backend=BumbleScanner, host=host).start()
    assert radio.controllers == set()

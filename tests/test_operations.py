"""Operations between simulated units: back up, open, verify, plan, restore, wipe; and targets."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lockmigrate.errors import (
    BackupError,
    ConfigError,
    FileTrouble,
    LinkError,
    LockmigrateError,
    MismatchError,
    NoAnswer,
    PolicyError,
    RefusedError,
    TargetError,
    TornRead,
    WrongCredential,
    WrongKeyError,
)
from lockmigrate.formats import backup as container
from lockmigrate.formats import files
from lockmigrate.formats.backup import open_backup, read_backup
from lockmigrate.model.document import to_sections
from lockmigrate.model.results import BackupResult, Progress, RestoreResult, VerifyResult, WipeResult
from lockmigrate.model.steps import Done, Step
from lockmigrate.operations import backup as backing_up
from lockmigrate.operations.backup import BackupOptions, backup, check_destination, read_names, rehearse_reading
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.keyring import KeyChoice, Keyring
from lockmigrate.operations.on_paper import plan_for_profile, source_in_memory
from lockmigrate.operations.opening import Opened, open_file
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Prepared, execute, prepare
from lockmigrate.operations.show import show
from lockmigrate.operations.units import info, try_finger, wipe
from lockmigrate.operations.verify import verify_file, verify_unit
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import load_all, load_profile
from lockmigrate.protocols import Scope
from lockmigrate.protocols.credentials import Ef01Credential
from lockmigrate.protocols.ef01 import Ef01Lock
from lockmigrate.protocols.ef01_door import Ef01Door, open_module
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Access, open_target, parse_target, read_credential
from lockmigrate.transports.memory import MemoryLink
from lockmigrate.vault.keys import create_keys, key_info, readable_by_others

PASSPHRASE = "a passphrase of the test suite"
OTHER = "another passphrase of the suite"
PROFILES = [profile.name for profile in load_all("ef01")]
CLASSIC = "as608"


# ---- the bench ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    create_keys(folder, PASSPHRASE, generated=False, log_n=10)
    return folder


@pytest.fixture
def ring(keys: Path) -> Keyring:
    return ring_of(keys)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journals")


def ring_of(config_dir: Path, **choice: Any) -> Keyring:
    return Keyring(KeyChoice(config_dir=config_dir, **{"passphrase": PASSPHRASE, **choice}))


def unit_of(profile: str, preset: str, **options: str) -> SimulatedUnit:
    small = {"slots": "16", "template_size": "300", **options}
    if preset == "full":
        small.setdefault("fill", "5")
    return open_unit(load_profile(profile), preset, small)


async def opened(unit: SimulatedUnit, *, password: bytes | None = None) -> Ef01Lock:
    link = MemoryLink.open(unit.device)
    door = Ef01Door(target="sim://unit", port_id="unit", profile=unit.profile, simulated=True, password=password)
    try:
        return await open_module(link, door)
    except BaseException:
        await link.close()
        raise


async def last(events: AsyncIterator[Any]) -> Any:
    found = None
    async for item in events:
        found = item
    assert not isinstance(found, Progress)
    return found


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def with_lock(unit: SimulatedUnit, act: Callable[[Ef01Lock], AsyncIterator[Any]]) -> Any:
    lock = await opened(unit)
    try:
        return await last(act(lock))
    finally:
        await lock.close()


async def back_up(unit: SimulatedUnit, ring: Keyring, out: Path, **options: Any) -> BackupResult:
    result = await with_lock(unit, lambda lock: backup(lock, ring, BackupOptions(out=out, **options)))
    assert isinstance(result, BackupResult)
    return result


async def put_back(unit: SimulatedUnit, source: Any, journal: Journal, **policy: Any) -> RestoreResult:
    lock = await opened(unit)
    try:
        prepared = await last(prepare(lock, source, Policy(**policy), journal))
        result = await last(execute(prepared, journal))
    finally:
        await lock.close()
    assert isinstance(result, RestoreResult)
    return result


async def compare(unit: SimulatedUnit, file: Opened, journal: Journal) -> VerifyResult:
    result = await with_lock(unit, lambda lock: verify_unit(lock, file, journal))
    assert isinstance(result, VerifyResult)
    return result


async def reading_of(unit: SimulatedUnit, **how: Any) -> Reading:
    reading = await with_lock(unit, lambda lock: read_unit(lock, **how))
    assert isinstance(reading, Reading)
    return reading


# ---- from one unit to the next --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_backup_of_every_profile_is_restored_byte_for_byte_and_verified(
    profile: str, ring: Keyring, journal: Journal, tmp_path: Path
) -> None:
    hilink = profile.startswith("hlk")
    old = unit_of(profile, "full", level="9" if hilink else "5", seed="7", template_size="512")
    new = unit_of(profile, "empty", template_size="512")
    untouched = old.image()

    made = await back_up(old, ring, tmp_path / "a.age")
    assert (made.exit_code, made.counts["fingerprints"], made.losses) == (0, 5, ())
    file = await open_file(Path(made.file), ring)
    file.insist()
    assert (file.trust, file.refusal, file.source.backup_id) == ("trusted", None, made.backup_id)
    assert verify_file(file).exit_code == 0
    assert (await compare(old, file, journal)).exit_code == 0
    assert (await compare(new, file, journal)).exit_code == 8

    restored = await put_back(new, file.source, journal)
    assert restored.exit_code == 0
    assert {item.proof for item in restored.records if item.outcome == "copy"} == {"V4"}
    assert new.flash.templates == old.flash.templates
    assert new.flash.notepad == old.flash.notepad
    assert new.flash.level == old.flash.level
    assert (new.flash.address, new.flash.password) == (bytes.fromhex("ffffffff"), bytes(4))

    verified = await compare(new, file, journal)
    assert (verified.exit_code, verified.extra) == (0, ())
    assert verified.counts["different"] == 0
    again = await put_back(new, file.source, journal)
    assert (again.exit_code, again.written, again.removed) == (0, 0, ())
    assert old.image() == untouched


async def test_a_backup_file_holds_no_template_in_clear_and_only_its_owner_may_read_it(
    ring: Keyring, tmp_path: Path
) -> None:
    old = unit_of(CLASSIC, "full")
    made = await back_up(old, ring, tmp_path / "a.age", label="front door")
    data = read_backup(Path(made.file))
    for template in old.flash.templates.values():
        assert template[8:40] not in data
    assert b"front door" not in data
    assert not readable_by_others(Path(made.file))
    assert names_in(tmp_path) == ["a.age"]


async def test_names_consent_label_and_expiry_travel_in_the_backup(ring: Keyring, tmp_path: Path) -> None:
    old = unit_of(CLASSIC, "full")
    slot = min(old.flash.templates)
    list_of_names = tmp_path / "names.csv"
    list_of_names.write_text(f"slot,name\n{slot},张伟\n15,nobody\n", encoding="utf-8-sig")
    made = await back_up(
        old,
        ring,
        tmp_path / "a.age",
        names=read_names(list_of_names),
        label="门 7",
        consent_ref="CR-1",
        expires_days=30,
    )
    file = await open_file(Path(made.file), ring)
    assert file.trust == "trusted", "names are not drift"
    shown = show(file)
    assert shown.label == "门 7"
    assert [row["name"] for row in shown.records if row.get("slot") == slot] == ["张伟"]
    identities, _ = await ring.identities_for(Path(made.file), b"")
    manifest = open_backup(read_backup(Path(made.file)), identities=identities).manifest
    assert manifest["retention"]["consent_ref"] == "CR-1"
    assert manifest["retention"]["expires_at"]


async def test_show_hides_secrets_until_they_are_asked_for(ring: Keyring, tmp_path: Path) -> None:
    old = unit_of(CLASSIC, "full")
    made = await back_up(old, ring, tmp_path / "a.age")
    file = await open_file(Path(made.file), ring)
    page = old.flash.notepad[0].hex()
    assert page not in str(show(file))
    assert page in str(show(file, reveal=True))
    assert page not in repr(file)
    assert old.flash.templates[min(old.flash.templates)].hex() not in str(show(file, reveal=True))


async def test_the_password_that_opened_the_old_unit_is_kept_and_not_migrated(
    ring: Keyring, journal: Journal, tmp_path: Path
) -> None:
    old = unit_of(CLASSIC, "full", password="0a0b0c0d")
    lock = await opened(old, password=bytes.fromhex("0a0b0c0d"))
    made = await last(backup(lock, ring, BackupOptions(out=tmp_path / "a.age")))
    await lock.close()
    file = await open_file(Path(made.file), ring)
    kept = {item.key: item.secret.reveal_bytes().hex() for item in file.source.snapshot.access_keys}
    assert kept["access_key/ef01.password"] == "0a0b0c0d"
    assert set(kept) == {"access_key/ef01.password", "access_key/ef01.infopage"}
    new = unit_of(CLASSIC, "empty")
    restored = await put_back(new, file.source, journal)
    assert restored.exit_code == 0
    assert new.flash.password == bytes(4)
    named = unit_of(CLASSIC, "empty")
    assert (await put_back(named, file.source, journal, with_=frozenset({"password"}))).exit_code == 0
    assert named.flash.password.hex() == "0a0b0c0d"


# ---- reading --------------------------------------------------------------------------------------------------------


def disturbing(unit: SimulatedUnit, times: int) -> Callable[[Ef01Lock], AsyncIterator[Any]]:
    """Read a unit while somebody enrols a finger during each of the first `times` reads."""

    async def act(lock: Ef01Lock) -> AsyncIterator[Any]:
        done = 0
        async for item in read_unit(lock):
            if isinstance(item, Progress) and (item.stage, item.done) == ("fingerprints", 1) and done < times:
                done += 1
                free = next(slot for slot in range(16) if slot not in unit.flash.templates)
                unit.flash.templates[free] = bytes(300)
            yield item

    return act


@pytest.mark.parametrize("times", [1, 2])
async def test_a_read_during_which_the_unit_changed_is_repeated(times: int) -> None:
    unit = unit_of(CLASSIC, "full")
    reading = await with_lock(unit, disturbing(unit, times))
    assert reading.snapshot.counts()["fingerprints"] == 5 + times
    assert reading.snapshot.complete()


async def test_a_unit_that_changes_during_every_read_is_a_torn_read() -> None:
    unit = unit_of(CLASSIC, "full")
    with pytest.raises(TornRead) as caught:
        await with_lock(unit, disturbing(unit, 3))
    assert caught.value.hint


async def test_an_unannounced_gap_ends_with_9_and_is_listed(ring: Keyring, tmp_path: Path) -> None:
    unit = unit_of(CLASSIC, "full", slots="5", quirks="unreadable:3")
    made = await back_up(unit, ring, tmp_path / "a.age")
    assert made.exit_code == 9
    assert [(gap.record, gap.announced) for gap in made.gaps] == [("fingerprint/3", False)]
    assert [loss.code for loss in made.losses] == ["template-unreadable"]
    file = await open_file(Path(made.file), ring)
    assert not file.source.snapshot.complete()
    assert verify_file(file).gaps == made.gaps


async def test_an_announced_gap_leaves_0_unless_the_person_is_strict(
    ring: Keyring, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = next(path for path in (Path(__file__).parent.parent / "firmware_profiles").glob(f"{CLASSIC}.toml"))
    text = shipped.read_text(encoding="utf-8").replace(f'name = "{CLASSIC}"', 'name = "gappy"')
    own = tmp_path / "profiles"
    own.mkdir()
    text = text.replace("[sources]", '[gaps]\ncredentials = "some slots stay shut"\n\n[sources]', 1)
    (own / "gappy.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("LOCKMIGRATE_PROFILE_PATH", str(own))
    unit = unit_of("gappy", "full", slots="5", quirks="unreadable:3")
    made = await back_up(unit, ring, tmp_path / "a.age")
    assert (made.exit_code, [gap.announced for gap in made.gaps]) == (0, [True])
    strict = await back_up(unit, ring, tmp_path / "b.age", strict=True)
    assert strict.exit_code == 9
    dry = await with_lock(unit, lambda lock: rehearse_reading(lock, BackupOptions()))
    assert dry.exit_code == 0
    file = await open_file(tmp_path / "a.age", ring)
    restored = await put_back(unit_of(CLASSIC, "empty", slots="5"), file.source, journal)
    assert restored.exit_code == 0, "the source profile announced that somebody has to come"


async def test_a_dry_run_reads_everything_and_leaves_no_file(tmp_path: Path) -> None:
    unit = unit_of(CLASSIC, "full")
    result = await with_lock(unit, lambda lock: rehearse_reading(lock, BackupOptions(folder=tmp_path)))
    assert (result.exit_code, result.file, result.counts["fingerprints"]) == (0, "", 5)
    assert names_in(tmp_path) == []


# ---- what forbids a backup ------------------------------------------------------------------------------------------


async def test_an_existing_file_is_not_replaced_and_the_unit_not_asked(ring: Keyring, tmp_path: Path) -> None:
    unit = unit_of(CLASSIC, "full")
    out = tmp_path / "a.age"
    out.write_text("mine")
    lock = await opened(unit)
    asked = len(unit.log)
    with pytest.raises(FileTrouble, match="exists already") as caught:
        await last(backup(lock, ring, BackupOptions(out=out)))
    assert (caught.value.code, caught.value.exit_code) == ("file-exists", 2)
    assert out.read_text() == "mine"
    assert len(unit.log) == asked
    await last(backup(lock, ring, BackupOptions(out=out, force=True)))
    await lock.close()
    assert (await open_file(out, ring)).trust == "trusted"


def test_a_backup_needs_a_folder_and_a_file_name(tmp_path: Path) -> None:
    for options, code in (
        (BackupOptions(out=tmp_path / "none" / "a.age"), "no-folder"),
        (BackupOptions(folder=tmp_path / "none"), "no-folder"),
        (BackupOptions(out=tmp_path), "is-a-folder"),
    ):
        with pytest.raises(FileTrouble) as caught:
            check_destination(options)
        assert caught.value.code == code
        assert caught.value.hint


@pytest.mark.parametrize(
    ("choice", "error", "code"),
    [
        ({"passphrase": OTHER}, WrongKeyError, "wrong-key"),
        ({"passphrase": None}, ConfigError, "no-passphrase"),
        ({"recipients": ("age1nonsense",)}, ConfigError, None),
        ({"symmetric": True}, ConfigError, "no-passphrase"),
        ({"symmetric": True, "backup_passphrase": "short"}, ConfigError, "weak-passphrase"),
        ({"symmetric": True, "backup_passphrase": OTHER, "recipients": ("age1x",)}, ConfigError, None),
    ],
)
async def test_a_backup_that_could_not_be_sealed_leaves_no_file(
    choice: dict[str, Any], error: type[LockmigrateError], code: str | None, keys: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        await back_up(unit_of(CLASSIC, "full"), ring_of(keys, **choice), tmp_path / "a.age")
    assert code is None or caught.value.code == code
    assert PASSPHRASE not in str(caught.value)
    assert names_in(tmp_path) == []


async def test_without_keys_nothing_is_read_and_the_hint_makes_them(tmp_path: Path) -> None:
    unit = unit_of(CLASSIC, "full")
    lock = await opened(unit)
    asked = len(unit.log)
    with pytest.raises(ConfigError) as caught:
        await last(backup(lock, ring_of(tmp_path / "none"), BackupOptions(out=tmp_path / "a.age")))
    await lock.close()
    assert (caught.value.code, caught.value.exit_code) == ("no-keys", 2)
    assert "keys init" in (caught.value.hint or "")
    assert len(unit.log) == asked


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
async def test_a_full_or_failing_disk_leaves_nothing_behind(
    number: int, ring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, data: bytes, mode: int) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_write_flushed", half)
    with pytest.raises(FileTrouble) as caught:
        await back_up(unit_of(CLASSIC, "full"), ring, tmp_path / "a.age")
    assert caught.value.exit_code == 2
    assert names_in(tmp_path) == []


async def test_a_file_that_does_not_read_back_is_not_called_a_backup(
    ring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files._write_flushed

    def damaged(path: Path, data: bytes, mode: int) -> None:
        write(path, data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], mode)

    monkeypatch.setattr(files, "_write_flushed", damaged)
    with pytest.raises(FileTrouble) as caught:
        await back_up(unit_of(CLASSIC, "full"), ring, tmp_path / "a.age")
    assert caught.value.code == "write-check"
    assert names_in(tmp_path) == []


async def test_a_unit_that_dies_during_a_backup_leaves_no_file_and_no_lost_error(keys: Path, tmp_path: Path) -> None:
    """Unlocking goes on beside it, with the wrong passphrase; nobody may be told of that afterwards."""
    unit = unit_of(CLASSIC, "full")
    lock = await opened(unit)
    unit.line.dead = True
    ring = ring_of(keys, passphrase=OTHER)
    with pytest.raises(LinkError):
        await last(backup(lock, ring, BackupOptions(out=tmp_path / "a.age")))
    await lock.close()
    await asyncio.sleep(1.0)
    del ring
    gc.collect()  # a task nobody asked tells its error when it goes; run_test then fails
    assert names_in(tmp_path) == []


# ---- opening --------------------------------------------------------------------------------------------------------


async def test_the_backup_of_another_signer_can_be_looked_at_and_not_restored(keys: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    create_keys(other, PASSPHRASE, generated=False, log_n=10)
    ring = ring_of(other, recipients=(key_info(keys).recipient,))
    made = await back_up(unit_of(CLASSIC, "full"), ring, tmp_path / "a.age")
    file = await open_file(tmp_path / "a.age", ring_of(keys))
    assert file.trust == "untrusted"
    assert (verify_file(file).exit_code, show(file).exit_code) == (10, 10)
    assert show(file).counts["fingerprints"] == 5
    with pytest.raises(PolicyError) as caught:
        file.insist()
    assert (caught.value.code, caught.value.exit_code) == ("untrusted", 10)
    once = await open_file(tmp_path / "a.age", ring_of(keys, trust_once=(made.signer,)))
    once.insist()
    assert once.trust == "trusted"


async def test_a_wrong_passphrase_opens_nothing(keys: Path, ring: Keyring, tmp_path: Path) -> None:
    await back_up(unit_of(CLASSIC, "full"), ring, tmp_path / "a.age")
    with pytest.raises(WrongKeyError) as caught:
        await open_file(tmp_path / "a.age", ring_of(keys, passphrase=OTHER))
    assert (caught.value.exit_code, caught.value.code) == (7, "wrong-key")
    with pytest.raises(WrongKeyError) as nothing:
        await open_file(tmp_path / "a.age", ring_of(tmp_path / "empty"))
    assert nothing.value.code == "no-identity"


async def test_a_copy_of_the_key_beside_the_file_opens_it_on_another_laptop(keys: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    made = await back_up(unit_of(CLASSIC, "full"), ring_of(keys, key_copy=True), stick / "a.age")
    assert made.key_copy is not None
    assert Path(made.key_copy).parent == stick
    empty = tmp_path / "laptop"
    file = await open_file(stick / "a.age", ring_of(empty, trust_once=(made.signer,)))
    file.insist()
    assert file.source.snapshot.counts()["fingerprints"] == 5
    with pytest.raises(WrongKeyError):
        await open_file(stick / "a.age", ring_of(empty, passphrase=OTHER))
    with pytest.raises(ConfigError):
        await open_file(stick / "a.age", ring_of(empty, passphrase=None))


async def test_a_damaged_key_file_beside_a_backup_does_not_hide_the_good_one(ring: Keyring, tmp_path: Path) -> None:
    await back_up(unit_of(CLASSIC, "full"), ring, tmp_path / "a.age")
    (tmp_path / "key-00000000.age").write_text("-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n")
    assert (await open_file(tmp_path / "a.age", ring)).trust == "trusted"


async def test_a_persons_own_passphrase_leaves_no_copy_unless_asked(keys: Path, tmp_path: Path) -> None:
    made = await back_up(unit_of(CLASSIC, "full"), ring_of(keys), tmp_path / "a.age")
    assert made.key_copy is None


async def test_a_symmetric_backup_opens_with_its_own_passphrase_alone(
    keys: Path, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backing_up, "seal", functools.partial(container.seal, log_n=10))
    ring = ring_of(keys, symmetric=True, backup_passphrase=OTHER)
    old = unit_of(CLASSIC, "full")
    made = await back_up(old, ring, tmp_path / "a.age")
    assert (made.recipients, made.key_copy) == ((), None)
    reader = ring_of(keys, passphrase=None, backup_passphrase=OTHER)
    file = await open_file(tmp_path / "a.age", reader)
    file.insist()
    new = unit_of(CLASSIC, "empty")
    await put_back(new, file.source, journal)
    assert new.flash.templates == old.flash.templates
    with pytest.raises(WrongKeyError):
        await open_file(tmp_path / "a.age", ring_of(keys, backup_passphrase=PASSPHRASE))
    with pytest.raises(ConfigError) as caught:
        await open_file(tmp_path / "a.age", ring_of(keys))
    assert caught.value.code == "no-passphrase"


async def resealed(keys: Path, file: Path, out: Path, change: Callable[[Any], Any]) -> None:
    """Write a backup anew, signed by the same hand, with other records over the same raw tables."""
    ring = ring_of(keys)
    identities, _ = await ring.identities_for(file, b"")
    whole = open_backup(read_backup(file), identities=identities)
    snapshot = (await open_file(file, ring)).source.snapshot
    entries = {name: data for name, data in whole.entries.items() if name.startswith("raw/")}
    entries |= {f"records/{name}.jsonl": data for name, data in to_sections(change(snapshot)).items()}
    data, key = container.seal(
        whole.manifest, entries, recipients=ring.recipients(), signing_key=await ring.signing_key()
    )
    container.write_backup(out, data, key)


async def test_records_that_are_not_what_the_raw_tables_say_are_drift(
    keys: Path, ring: Keyring, journal: Journal, tmp_path: Path
) -> None:
    old = unit_of(CLASSIC, "full", level="4")
    slot = min(old.flash.templates)
    await back_up(old, ring, tmp_path / "a.age", names={f"fingerprint/{slot}": "张伟"})

    def other_level(snapshot: Any) -> Any:
        changed = (replace(item, value=1) if "level" in item.key else item for item in snapshot.settings)
        return replace(snapshot, settings=tuple(changed))

    await resealed(keys, tmp_path / "a.age", tmp_path / "same.age", lambda snapshot: snapshot)
    assert (await open_file(tmp_path / "same.age", ring)).trust == "trusted"
    await resealed(keys, tmp_path / "a.age", tmp_path / "b.age", other_level)
    drifted = await open_file(tmp_path / "b.age", ring)
    assert drifted.trust == "drift"
    with pytest.raises(PolicyError, match="settings") as caught:
        drifted.insist()
    assert (caught.value.code, caught.value.exit_code) == ("drift", 10)

    accepted = await open_file(tmp_path / "b.age", ring, accept_drift=True)
    accepted.insist()
    new = unit_of(CLASSIC, "empty")
    await put_back(new, accepted.source, journal)
    assert new.flash.level == 4, "what the raw tables say is restored"
    assert [row["name"] for row in show(accepted).records if row.get("slot") == slot] == ["张伟"]


def _of_credentials(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda snapshot: replace(snapshot, credentials=tuple(change(snapshot.credentials)))


@pytest.mark.parametrize(
    "change",
    [
        _of_credentials(lambda items: [replace(item, origin={}) for item in items]),
        _of_credentials(lambda items: [replace(item, origin={"credential_index": "1"}) for item in items]),
        _of_credentials(lambda items: [replace(item, origin={"credential_index": -1}) for item in items]),
        _of_credentials(lambda items: [replace(item, origin={"credential_index": True}) for item in items[:1]]),
        _of_credentials(lambda items: [replace(item, origin=items[0].origin) for item in items]),
        _of_credentials(lambda items: [*items, items[0]]),
        lambda snapshot: replace(snapshot, attachments=()),
        lambda snapshot: replace(
            snapshot,
            settings=tuple(
                replace(item, key="setting/ef01.notepad.x") if item.key.endswith("notepad.0") else item
                for item in snapshot.settings
            ),
        ),
        lambda snapshot: replace(
            snapshot,
            settings=tuple(
                replace(item, value="zz") if item.key.endswith("address") else item for item in snapshot.settings
            ),
        ),
    ],
)
async def test_records_that_planning_could_not_work_with_are_malformed(
    change: Callable[[Any], Any], keys: Path, ring: Keyring, tmp_path: Path
) -> None:
    await back_up(unit_of(CLASSIC, "full"), ring, tmp_path / "a.age")
    await resealed(keys, tmp_path / "a.age", tmp_path / "b.age", change)
    for accept in (False, True):
        with pytest.raises(BackupError) as caught:
            await open_file(tmp_path / "b.age", ring, accept_drift=accept)
        assert (caught.value.code, caught.value.exit_code) == ("malformed", 6)


# ---- comparing and restoring ----------------------------------------------------------------------------------------


async def source_of(unit: SimulatedUnit) -> Any:
    return source_in_memory(await reading_of(unit))


async def test_a_unit_differs_by_one_byte_one_missing_and_one_extra_finger(
    ring: Keyring, journal: Journal, tmp_path: Path
) -> None:
    unit = unit_of(CLASSIC, "full")
    await back_up(unit, ring, tmp_path / "a.age")
    file = await open_file(tmp_path / "a.age", ring)
    assert (await compare(unit, file, journal)).counts == {"equal": 8, "different": 0, "extra": 0}
    whole = dict(unit.flash.templates)
    slot = min(whole)
    free = next(number for number in range(16) if number not in whole)

    unit.flash.templates[slot] = bytes([whole[slot][0] ^ 1]) + whole[slot][1:]
    result = await compare(unit, file, journal)
    assert (result.exit_code, result.counts["different"]) == (8, 1)

    unit.flash.templates = {number: data for number, data in whole.items() if number != slot}
    assert (await compare(unit, file, journal)).exit_code == 8

    unit.flash.templates = {**whole, free: bytes(300)}
    result = await compare(unit, file, journal)
    assert (result.exit_code, result.extra) == (8, (f"fingerprint/{free}",))

    unit.flash.templates = whole
    unit.flash.level = 1
    assert (await compare(unit, file, journal)).exit_code == 8
    unit.flash.level = 3
    unit.flash.notepad[0] = b"\x01" * 32
    result = await compare(unit, file, journal)
    # A plan would leave the unit's own notes alone, so they are no difference, but they are told (decision 16).
    assert result.exit_code == 0
    assert any("setting/ef01.notepad.0" in warning for warning in result.warnings)
    assert "setting/ef01.notepad.0" in result.not_compared


async def test_a_look_alike_that_was_restored_verifies_without_any_option(
    ring: Keyring, journal: Journal, tmp_path: Path
) -> None:
    old = unit_of("r503", "full", template_size="1536", algorithm="ALG-1")
    await back_up(old, ring, tmp_path / "a.age")
    file = await open_file(tmp_path / "a.age", ring)
    new = unit_of("r503", "empty", template_size="1536", algorithm="ALG-2", serial="00000999")
    with pytest.raises(PolicyError) as caught:
        await put_back(new, file.source, journal)
    assert caught.value.exit_code == 10
    assert new.flash.templates == {}
    assert (await put_back(new, file.source, journal, accept_look_alike=True)).exit_code == 0
    assert (await compare(new, file, journal)).exit_code == 0
    assert (await put_back(new, file.source, journal)).written == 0


async def test_merge_keeps_and_replace_removes_and_nothing_happens_undecided(journal: Journal) -> None:
    source = await source_of(unit_of(CLASSIC, "full"))
    fresh = functools.partial(unit_of, CLASSIC, "empty")
    wanted = {item.origin["credential_index"] for item in source.snapshot.credentials}
    free = next(slot for slot in range(16) if slot not in wanted)
    units = {}
    for existing in (None, "merge", "replace"):
        unit = units[existing] = fresh()
        unit.flash.templates[free] = b"\x03\x01" + bytes(298)
        before = unit.image()
        if existing is None:
            with pytest.raises(PolicyError) as caught:
                await put_back(unit, source, journal)
            assert caught.value.code == "target-not-empty"
            assert unit.image() == before
        else:
            result = await put_back(unit, source, journal, existing=existing)
            assert result.exit_code == 0
            assert result.removed == ((f"fingerprint/{free}",) if existing == "replace" else ())
    assert set(units["merge"].flash.templates) == wanted | {free}
    assert set(units["replace"].flash.templates) == wanted


async def test_a_slot_that_is_cleared_does_not_stain_the_record_of_the_same_number(journal: Journal) -> None:
    """The old unit did not give slot 3 out; the target's slot 3 goes because of replace: two different things."""
    source = await source_of(unit_of(CLASSIC, "full", slots="5", quirks="unreadable:3"))
    new = unit_of(CLASSIC, "empty", slots="5")
    new.flash.templates[3] = b"\x03\x01" + bytes(298)
    result = await put_back(new, source, journal, existing="replace")
    lost = next(item for item in result.records if item.key == "fingerprint/3")
    assert (lost.outcome, lost.reasons) == ("re_enrol", ("template-unreadable",))
    assert result.removed == ("fingerprint/3",)
    assert result.exit_code == 9
    assert set(new.flash.templates) == {0, 1, 2, 4}


@pytest.mark.parametrize("size", ["600", "200"])
async def test_a_target_whose_memory_takes_another_size_is_refused_with_its_flash_untouched(
    size: str, journal: Journal
) -> None:
    source = await source_of(unit_of(CLASSIC, "full"))
    new = unit_of(CLASSIC, "empty", template_size=size)
    before = new.image()
    with pytest.raises(PolicyError) as caught:
        await put_back(new, source, journal)
    assert (caught.value.code, caught.value.exit_code) == ("template-size", 10)
    assert new.image() == before


@pytest.mark.parametrize(
    ("profile", "options", "reason"),
    [("hlk-zw101", {}, "template-dialect"), ("r503", {"template_size": "768"}, "template-size")],
)
async def test_a_target_of_another_kind_is_refused_whole(
    profile: str, options: dict[str, str], reason: str, journal: Journal
) -> None:
    source = await source_of(unit_of("r503", "full", template_size="1536"))
    new = unit_of(profile, "empty", **options)
    before = new.image()
    lock = await opened(new)
    prepared = await last(prepare(lock, source, Policy(), journal))
    with pytest.raises(PolicyError) as caught:
        await last(execute(prepared, journal))
    await lock.close()
    assert caught.value.code == "wrong-target"
    assert prepared.result().exit_code == 10
    assert {item.reasons for item in prepared.plan.records if item.kind == "fingerprint"} == {(reason,)}
    assert new.image() == before


async def test_a_restore_onto_the_very_same_unit_is_refused_where_that_is_not_wanted(journal: Journal) -> None:
    unit = unit_of("r503", "full")
    source = await source_of(unit)
    with pytest.raises(PolicyError) as caught:
        await with_lock(unit, lambda lock: prepare(lock, source, Policy(), journal, same_unit_allowed=False))
    assert caught.value.code == "wrong-target"
    nameless = unit_of(CLASSIC, "full")
    source = await source_of(nameless)
    prepared = await with_lock(nameless, lambda lock: prepare(lock, source, Policy(), journal, same_unit_allowed=False))
    assert isinstance(prepared, Prepared), "a unit without a serial number is never the same"


@pytest.mark.parametrize("quirk", ["store-fails", "readback-differs:{}:9"])
async def test_a_template_that_the_target_does_not_take_is_a_loss_and_its_slot_stays_empty(
    quirk: str, journal: Journal
) -> None:
    old = unit_of(CLASSIC, "full")
    source = await source_of(old)
    slot = min(old.flash.templates)
    quirks = quirk.format(slot) if "{}" in quirk else f"{quirk}:{slot}"
    new = unit_of(CLASSIC, "empty", quirks=quirks)
    result = await put_back(new, source, journal)
    assert result.exit_code == 9
    code = "write-refused" if quirk == "store-fails" else "read-back-differs"
    assert [(loss.record, loss.code) for loss in result.losses] == [(f"fingerprint/{slot}", code)]
    assert set(new.flash.templates) == set(old.flash.templates) - {slot}
    assert result.written == len(result.records) - 1 - result.counts["skip"] - result.already_equal


async def test_a_module_that_loses_what_it_had_proven_is_told_at_the_end(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = unit_of(CLASSIC, "full")
    source = await source_of(old)
    new = unit_of(CLASSIC, "empty")
    lock = await opened(new)
    prepared = await last(prepare(lock, source, Policy(), journal))
    slot = min(old.flash.templates)

    async def losing() -> AsyncIterator[Any]:
        async for item in execute(prepared, journal):
            if isinstance(item, Progress) and item.done == item.total:
                del new.flash.templates[slot]
            yield item

    with pytest.raises(MismatchError) as caught:
        await last(losing())
    await lock.close()
    assert caught.value.differences == (f"fingerprint/{slot} is missing",)


async def test_a_plan_against_a_profile_needs_no_unit() -> None:
    source = await source_of(unit_of("r503", "full", template_size="1536"))
    same = plan_for_profile(source, "r503", Policy())
    assert (same.exit_code, same.executable) == (0, True)
    assert {item.outcome for item in same.records if item.kind == "fingerprint"} == {"copy"}
    assert {item.outcome for item in same.records if "notepad" in item.key} == {"copy"}
    other = plan_for_profile(source, "hlk-zw101", Policy())
    assert (other.exit_code, other.blocked_by) == (10, ("wrong-target",))
    assert len(other.records) == len(same.records)


# ---- killed in the middle -------------------------------------------------------------------------------------------


class KillingJournal(Journal):
    """Cancels the task that uses it, some turns of the loop after the n-th start."""

    def __init__(self, config_dir: Path, *, at: int, turns: int) -> None:
        super().__init__(config_dir)
        self._left, self._turns = at, turns

    def note_all(self, event: str, keys: Iterable[str | None], *, unit_id: str, backup_id: str) -> None:
        super().note_all(event, keys, unit_id=unit_id, backup_id=backup_id)
        if event == "started":
            self._left -= 1
            if self._left == 0:
                task = asyncio.current_task()
                assert task is not None
                self._later(task, self._turns)

    def _later(self, task: asyncio.Task[Any], turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._later, task, turns - 1)
        else:
            task.cancel()


@pytest.mark.parametrize("turns", [0, 1, 4, 7, 10, 13])
@pytest.mark.parametrize("profile", [CLASSIC, "hlk-zw101"])
async def test_a_restore_killed_at_any_record_is_finished_by_a_second_run_without_options(
    profile: str, turns: int, tmp_path: Path
) -> None:
    level = "9" if profile.startswith("hlk") else "5"
    old = unit_of(profile, "full", level=level)
    source = await source_of(old)
    whole = await put_back(unit_of(profile, "empty"), source, Journal(tmp_path / "whole"))
    assert whole.written == 8, "five templates, two pages, one level"
    for number in range(1, whole.written + 1):
        new = unit_of(profile, "empty")
        folder = tmp_path / f"{number}"
        killing = KillingJournal(folder, at=number, turns=turns)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(put_back(new, source, killing))
        assert new.flash.templates != old.flash.templates or number > 7
        result = await put_back(new, source, Journal(folder))
        assert result.exit_code == 0, f"record {number}"
        assert new.flash.templates == old.flash.templates, f"record {number}"
        assert new.flash.notepad == old.flash.notepad
        assert new.flash.level == old.flash.level


async def test_what_a_killed_restore_had_half_stored_is_written_over_without_a_question(tmp_path: Path) -> None:
    old = unit_of(CLASSIC, "full")
    source = await source_of(old)
    slot = min(old.flash.templates)
    new = unit_of(CLASSIC, "empty")
    new.flash.templates[slot] = bytes(150) + old.flash.templates[slot][150:]
    journal = Journal(tmp_path)
    with pytest.raises(PolicyError):
        await put_back(new, source, journal)
    journal.note("started", unit_id="unit", backup_id=source.backup_id, key=f"fingerprint/{slot}")
    assert (await put_back(new, source, journal)).exit_code == 0
    assert new.flash.templates == old.flash.templates
    assert journal.unconfirmed("unit", source.backup_id) == frozenset()


async def test_nothing_is_written_to_a_unit_without_a_journal(tmp_path: Path) -> None:
    source = await source_of(unit_of(CLASSIC, "full"))
    new = unit_of(CLASSIC, "empty")
    before = new.image()
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(FileTrouble):
        await put_back(new, source, Journal(in_the_way))
    assert new.image() == before


# ---- the journal ----------------------------------------------------------------------------------------------------


def started(journal: Journal, key: str, event: str = "started", unit: str = "u", backup_id: str = "b") -> None:
    journal.note(event, unit_id=unit, backup_id=backup_id, key=key)


def test_the_journal_tells_what_was_started_and_not_confirmed_per_unit_and_backup(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "folder")
    assert journal.unconfirmed("u", "b") == frozenset()
    for key in ("fingerprint/1", "fingerprint/2", "fingerprint/3"):
        started(journal, key)
    started(journal, "fingerprint/2", "confirmed")
    started(journal, "fingerprint/9", unit="other")
    started(journal, "fingerprint/8", backup_id="other")
    started(journal, "fingerprint/3", "confirmed")
    started(journal, "fingerprint/3")
    assert Journal(tmp_path / "new" / "folder").unconfirmed("u", "b") == {"fingerprint/1", "fingerprint/3"}
    assert not readable_by_others(tmp_path / "new" / "folder" / "journal.jsonl")


@pytest.mark.parametrize(
    "torn", [b"{", b'{"event": "confirmed", "unit": "u", "ba', b"\xff\x00", b"[1]", b"7", b"[" * 9999]
)
def test_a_torn_last_line_harms_neither_the_lines_before_nor_the_next(torn: bytes, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    started(journal, "fingerprint/1")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(torn)
    assert journal.unconfirmed("u", "b") == {"fingerprint/1"}
    started(journal, "fingerprint/2")
    assert journal.unconfirmed("u", "b") == {"fingerprint/1", "fingerprint/2"}
    started(journal, "fingerprint/1", "confirmed")
    assert journal.unconfirmed("u", "b") == {"fingerprint/2"}


def test_a_half_written_line_is_trouble_before_the_unit_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:5]))
    with pytest.raises(FileTrouble) as caught:
        started(journal, "fingerprint/1")
    assert caught.value.hint
    monkeypatch.undo()
    started(journal, "fingerprint/2")
    assert journal.unconfirmed("u", "b") == {"fingerprint/2"}


async def test_the_journal_holds_keys_of_records_and_nothing_else(tmp_path: Path) -> None:
    old = unit_of(CLASSIC, "full")
    await put_back(unit_of(CLASSIC, "empty"), await source_of(old), Journal(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert {key for line in lines for key in line} == {"at", "event", "unit", "backup", "key"}
    assert {line["event"] for line in lines} == {"started", "confirmed"}
    assert len(lines) == 14


class _Refusing:
    """A lock that refuses one template and cannot say what lies in the slot now."""

    def __init__(self, lock: Ef01Lock, done: Done) -> None:
        self._lock, self._done = lock, done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    async def write(self, steps: list[Step]) -> AsyncIterator[Done]:
        for step in steps:
            if step.key == self._done.key:
                yield self._done
            else:
                async for done in self._lock.write([step]):
                    yield done


@pytest.mark.parametrize(
    ("status", "code", "detail", "confirmed"),
    [
        ("refused", "write-refused", "flash error", False),
        ("refused", "write-refused", "flash error; the slot was left empty", True),
        ("differs", "read-back-differs", None, False),
        ("differs", "read-back-differs", "x; the slot was left empty", True),
    ],
)
async def test_a_slot_of_unknown_contents_stays_unconfirmed(
    status: Any, code: str, detail: str | None, confirmed: bool, journal: Journal
) -> None:
    old = unit_of(CLASSIC, "full")
    source = await source_of(old)
    key = f"fingerprint/{min(old.flash.templates)}"
    lock = await opened(unit_of(CLASSIC, "empty"))
    refusing: Any = _Refusing(lock, Done(key=key, status=status, code=code, detail=detail))
    prepared = await last(prepare(refusing, source, Policy(), journal))
    result = await last(execute(prepared, journal))
    await lock.close()
    assert result.exit_code == 9
    assert (key not in journal.unconfirmed("unit", source.backup_id)) is confirmed


# ---- small verbs ----------------------------------------------------------------------------------------------------


async def wiped(unit: SimulatedUnit) -> WipeResult:
    async def act(lock: Ef01Lock) -> AsyncIterator[Any]:
        identity = await lock.identify()
        async for item in wipe(lock, identity, scope=Scope.PEOPLE, backup=None):
            yield item

    result = await with_lock(unit, act)
    assert isinstance(result, WipeResult)
    return result


@pytest.mark.parametrize("quirks", ["", "no-index", "no-index,count-zero", "count-zero"])
@pytest.mark.parametrize("profile", [CLASSIC, "hlk-zw101"])
async def test_a_wipe_takes_people_and_notepad_and_keeps_the_settings(profile: str, quirks: str) -> None:
    unit = unit_of(profile, "full", level="2", quirks=quirks)
    result = await wiped(unit)
    assert unit.flash.templates == {}
    assert all(page == bytes(32) for page in unit.flash.notepad)
    assert unit.flash.level == 2
    assert result.left.get("fingerprints", 0) == 0


@pytest.mark.parametrize("quirks", ["", "no-index", "no-index,count-zero", "count-zero"])
async def test_a_wipe_that_left_something_is_found_out(quirks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Ef01Lock, scope: Scope) -> AsyncIterator[Progress]:
        yield Progress(stage="library", done=1, total=1)

    monkeypatch.setattr(Ef01Lock, "erase", nothing)
    with pytest.raises(MismatchError) as caught:
        await wiped(unit_of(CLASSIC, "full", quirks=quirks))
    assert caught.value.exit_code == 8
    assert "5 fingerprints" in caught.value.differences
    assert "setting/ef01.notepad.0" in caught.value.differences
    with pytest.raises(MismatchError):
        await wiped(unit_of(CLASSIC, "empty", notepad="paired"))


async def test_info_says_who_it_is_and_writes_nothing() -> None:
    unit = unit_of("r503", "full")
    before = unit.image()
    lock = await opened(unit)
    result = await info(lock, label="front")
    await lock.close()
    assert (result.unit.id, result.unit.label, result.unit.counts) == (unit.serial, "front", {"fingerprints": 5})
    assert result.carries["fingerprints"].startswith("templates")
    assert unit.image() == before


async def test_a_finger_on_the_sensor_is_matched_or_not_or_never_comes() -> None:
    unit = unit_of(CLASSIC, "full")
    slot = min(unit.flash.templates)
    for finger, code in ((slot, 0), (15 if 15 not in unit.flash.templates else 14, 8)):
        lock = await opened(unit_of(CLASSIC, "full", finger=str(finger)))
        result = await try_finger(lock)
        await lock.close()
        assert (result.exit_code, result.matched) == (code, code == 0)
        assert (result.slot, result.proof) == ((slot, "V0") if code == 0 else (None, None))
    lock = await opened(unit)
    with pytest.raises(NoAnswer):
        await try_finger(lock, timeout_s=2.0)
    await lock.close()


@pytest.mark.parametrize(
    "text", ["0,a\n0,b\n", "x,a\n", "1\n", "-1,a\n", "1234567,a\n", "１,a\n", "slot,name\nslot,name\n"]
)
def test_a_list_of_names_with_anything_wrong_is_refused_with_its_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="line"):
        read_names(file)


def test_a_list_of_names_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gbk.csv").write_bytes("1,张伟\n".encode("gbk"))
    (tmp_path / "large.csv").write_bytes(b"\n" * (1024 * 1024 + 1))
    for name in ("gbk.csv", "large.csv", "none.csv"):
        with pytest.raises(ConfigError, match="list of names"):
            read_names(tmp_path / name)


# ---- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scheme", "address", "options", "port_id"),
    [
        ("serial:///dev/ttyUSB0", "serial", "/dev/ttyUSB0", {}, "ttyUSB0"),
        ("serial://COM3", "serial", "COM3", {}, "COM3"),
        ("serial://\\\\.\\COM12", "serial", "\\\\.\\COM12", {}, "COM12"),
        (
            "serial:///dev/serial/by-id/usb-a%20b?baud=9600",
            "serial",
            "/dev/serial/by-id/usb-a b",
            {"baud": "9600"},
            "usb-a b",
        ),
        ("serial://socket://10.0.0.7:4000", "serial", "socket://10.0.0.7:4000", {}, "10.0.0.7:4000"),
        (
            "serial:///dev/tty%3F1?profile=r503&baud=57600",
            "serial",
            "/dev/tty?1",
            {"profile": "r503", "baud": "57600"},
            "tty?1",
        ),
        ("sim://r503/full", "sim", "r503/full", {}, "r503/full"),
        ("sim://r503/full?serial=A%26B&seed=2", "sim", "r503/full", {"serial": "A&B", "seed": "2"}, "r503/full"),
    ],
)
def test_a_target_is_parsed(text: str, scheme: str, address: str, options: dict[str, str], port_id: str) -> None:
    target = parse_target(text)
    assert (target.scheme, target.address, target.options, target.port_id) == (scheme, address, options, port_id)
    assert target.text == text
    assert target.simulated is (scheme == "sim")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "for example"),
        ("COM3", "serial://COM3"),
        ("/dev/ttyUSB0", "serial:///dev/ttyUSB0"),
        ("r503/full", "sim://r503/full"),
        ("./file", "for example"),
        ("seriel:///dev/ttyUSB0", "serial:///dev/ttyUSB0"),
        ("SIM://r503", "sim://r503"),
        ("socket://10.0.0.7:4000", "serial://socket://10.0.0.7:4000"),
        ("rfc2217://10.0.0.7:4000", "serial://rfc2217://10.0.0.7:4000"),
        ("gopher://x", "serial"),
        ("://x", "serial"),
        ("54:D2:72:12:34:56", "ble://54:D2:72:12:34:56"),
        ("ble://54:D2:72:12:34:56?hcl=usb:0", "hci"),
        ("udp://10.0.0.7:4370?baud=9600", "known are"),
        ("image://dump.bin?profil=x", "profile"),
        ("serial://", "/dev/ttyUSB0"),
        ("serial://?baud=9600", "/dev/ttyUSB0"),
        ("sim://", "r503/full"),
        ("serial://COM3%00", "/dev/ttyUSB0"),
        ("serial://COM3?baud", "?profile="),
        ("serial://COM3?=9600", "?profile="),
        ("serial://COM3?baud=9600&", "?profile="),
        ("serial://COM3?baud=9600&baud=9600", "leave one"),
        ("serial://COM3?bauds=9600", "baud"),
        ("serial://COM3?colour=red", "known are"),
        ("serial://COM3?baud=fast", "baud=57600"),
        ("serial://COM3?baud=", "baud=57600"),
        ("serial://COM3?baud=0", "baud=57600"),
        ("serial://COM3?baud=-9600", "baud=57600"),
        ("serial://COM3?baud=４", "baud=57600"),
        ("serial://COM3?baud=0000005760000000", "baud=57600"),
        ("serial://COM3?baud=99999999999999999999", "baud=57600"),
    ],
)
def test_what_is_no_target_is_told_with_what_was_probably_meant(text: str, hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@pytest.mark.parametrize("address", ["r503/none", "r5o3/full", "r503/full?colour=red", "r503/full?slots=x"])
async def test_a_simulated_unit_that_does_not_exist_is_a_usage_error(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_target(parse_target(f"sim://{address}"), Access())
    assert caught.value.exit_code == 2
    assert caught.value.hint or "slots" in caught.value.message


async def test_a_simulated_unit_is_opened_with_its_own_credential_and_known_by_its_port() -> None:
    lock = await open_target(parse_target("sim://as608/full?fill=2&slots=9&password=01020304"), Access())
    unit = await lock.identify()
    await lock.close()
    assert (unit.id, unit.serial, unit.simulated) == ("as608/full", None, True)
    assert unit.counts == {"fingerprints": 2}


def credential(folder: Path, text: str) -> Path:
    file = folder / "credential.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_credential_file_is_read_and_never_prints(tmp_path: Path) -> None:
    file = credential(tmp_path, '[ef01]\npassword = "0A0b0c0d"\naddress = "00000001"\nunit = "ttyUSB0"\n')
    found = read_credential(file)
    assert found == Ef01Credential(password="0A0b0c0d", address="00000001", unit="ttyUSB0")
    assert "0A0b0c0d" not in f"{found!r} {found} {[found]}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[nuki]\nauthorization_id = 4711\nshared_key = "cafe4711"\n',
        "[ef01]\npassword = 47114711\n",
        '[ef01]\npassword = "4711"\n',
        '[ef01]\npassword = "cafe4711cafe4711"\n',
        '[ef01]\npassword = "cafe471g"\n',
        '[ef01]\npassword = "+afe4711"\n',
        '[ef01]\npassword = "４7114711"\n',
        '[ef01]\naddress = "0xcafe4711"\n',
        '[ef01]\naddress = ["cafe4711"]\n',
        '[ef01]\npasword = "cafe4711"\n',
        'ef01 = "cafe4711"\n',
        "[ef01]\npassword = cafe4711\n",
        '[ef01\npassword = "cafe4711"\n',
        '[ef01]\npassword = "cafe4711"\npassword = "cafe4711"\n',
    ],
)
def test_a_credential_file_with_anything_wrong_is_refused_without_repeating_a_value(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_credential(credential(tmp_path, text))
    error = caught.value
    assert (error.code, error.exit_code) == ("credential-file", 2)
    assert error.hint
    assert "credential.toml" in error.message
    assert "4711" not in f"{error.message} {error.hint}"
    assert "471g" not in error.message


def test_a_credential_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "bytes.toml"):
        with pytest.raises(ConfigError) as caught:
            read_credential(path)
        assert caught.value.code == "credential-file"


async def test_the_credential_of_another_unit_is_refused_and_the_right_one_taken(tmp_path: Path) -> None:
    target = parse_target("sim://r503/full?fill=2&slots=9&serial=00000777&password=cafe4711")
    right = credential(tmp_path, '[ef01]\npassword = "cafe4711"\nunit = "00000777"\n')
    lock = await open_target(target, Access(credential_file=right))
    await lock.close()
    wrong = credential(tmp_path, '[ef01]\npassword = "cafe4711"\nunit = "00000778"\n')
    with pytest.raises(RefusedError) as caught:
        await open_target(target, Access(credential_file=wrong))
    assert (caught.value.code, caught.value.exit_code) == ("credential-of-other-unit", 4)
    assert "cafe4711" not in f"{caught.value} {caught.value.hint}"


async def test_a_wrong_password_is_tried_once_and_not_repeated_in_the_message(tmp_path: Path) -> None:
    target = parse_target("sim://r503/full?fill=2&slots=9&password=cafe4711")
    wrong = credential(tmp_path, '[ef01]\npassword = "beef0815"\n')
    with pytest.raises(WrongCredential) as caught:
        await open_target(target, Access(credential_file=wrong))
    assert caught.value.exit_code == 4
    assert "0815" not in f"{caught.value} {caught.value.hint}"

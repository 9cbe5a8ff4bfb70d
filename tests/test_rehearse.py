"""A backup is proven restorable by being restored into a simulated unit; a backup that is not, is found out."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lockmigrate.errors import PolicyError
from lockmigrate.operations import rehearse as rehearsing
from lockmigrate.operations.backup import BackupOptions, backup
from lockmigrate.operations.keyring import KeyChoice, KeyPaths, Keyring
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.rehearse import RehearsalOutcome, rehearse, rehearse_file
from lockmigrate.operations.restore import Source
from lockmigrate.profiles import Profile, load_all
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Access, open_target, parse_target
from lockmigrate.vault.keys import create_keys


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


async def source_of(target: str) -> Source:
    lock = await open_target(parse_target(target), Access())
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return source_in_memory(reading)


FILL = {"nuki": "codes=6", "ttlock": "passcodes=6&cards=4&fingers=2"}
"""Family to the option that makes its simulated units small."""
READ_ONLY = {"nuki-opener"}
WRITTEN = [profile for profile in load_all() if profile.family != "image" and profile.name not in READ_ONLY]


async def test_a_backup_of_a_unit_that_is_only_read_says_why_it_cannot_be_rehearsed() -> None:
    outcome: RehearsalOutcome = await last(rehearse(await source_of("sim://nuki-opener/half?codes=2")))
    assert (outcome.ok, outcome.code) == (False, "no-simulator")


@pytest.mark.parametrize("profile", WRITTEN, ids=lambda profile: profile.name)
async def test_a_backup_of_every_profile_is_restorable(profile: Profile) -> None:
    source = await source_of(f"sim://{profile.name}/half?{FILL.get(profile.family, 'fill=6')}")
    outcome: RehearsalOutcome = await last(rehearse(source))
    assert (outcome.ok, outcome.cuts, outcome.detail) == (True, 3, None)
    assert outcome.records >= 6


@pytest.mark.parametrize("options", ["template_size=810", "template_size=512&slots=700&fill=9", "level=5&system_id=9"])
async def test_the_stand_in_takes_its_sizes_from_the_backup(options: str) -> None:
    outcome = await last(rehearse(await source_of(f"sim://fpm10a/half?{options}")))
    assert outcome.ok, outcome.detail


@pytest.mark.parametrize("options", ["passcodes=300&passcode_room=400", "cards=250&card_room=300"])
async def test_the_stand_in_of_a_lock_that_tells_no_room_has_room_for_what_it_held(options: str) -> None:
    outcome = await last(rehearse(await source_of(f"sim://ttlock/half?{options}"), cuts=0))
    assert outcome.ok, outcome.detail


async def test_a_unit_that_damages_what_it_stores_fails_the_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    source = await source_of("sim://r503/half?fill=4")
    slot = int(source.snapshot.credentials[0].origin["credential_index"])

    def bad_stand_in(source: Source, profile: Any) -> SimulatedUnit:
        return rehearsing.sim.open_unit(profile, "empty", {"quirks": f"readback-differs:{slot}:9"})

    monkeypatch.setattr(rehearsing, "stand_in", bad_stand_in)
    outcome = await last(rehearse(source))
    assert not outcome.ok
    assert f"fingerprint/{slot}" in outcome.detail
    with pytest.raises(PolicyError) as caught:
        outcome.insist()
    assert (caught.value.code, caught.value.exit_code) == ("rehearsal-failed", 10)


async def test_a_backup_that_claims_more_than_its_unit_held_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record whose slot does not exist on the model cannot be restored, whatever its digests say."""
    source = await source_of("sim://r503/half?fill=3")
    first = source.snapshot.credentials[0]
    moved = replace(first, key="fingerprint/500", origin={"credential_index": 500})
    broken = replace(source.snapshot, credentials=(moved, *source.snapshot.credentials[1:]))
    outcome = await last(
        rehearse(Source(file="", backup_id="0" * 32, unit=source.unit, snapshot=broken, gaps=()), cuts=0)
    )
    assert not outcome.ok


def test_a_worker_rehearses_a_file_with_paths_alone(tmp_path: Path) -> None:
    import asyncio

    create_keys(tmp_path / "config", "a passphrase of a test", generated=False, log_n=10)
    (tmp_path / "passphrase").write_text("a passphrase of a test", encoding="utf-8")
    (tmp_path / "passphrase").chmod(0o600)

    async def make() -> Path:
        ring = Keyring(KeyChoice(config_dir=tmp_path / "config", passphrase="a passphrase of a test"))
        lock = await open_target(parse_target("sim://as608/half?fill=3"), Access())
        result = await last(backup(lock, ring, BackupOptions(folder=tmp_path)))
        await lock.close()
        return Path(result.file)

    file = asyncio.run(make())
    paths = KeyPaths(config_dir=tmp_path / "config", passphrase_file=tmp_path / "passphrase")
    assert b"a passphrase of a test" not in pickle.dumps((file, paths))
    outcome = rehearse_file(file, paths)
    assert outcome.ok
    assert pickle.loads(pickle.dumps(outcome)) == outcome  # noqa: S301  # our own bytes

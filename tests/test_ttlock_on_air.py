"""TTLock locks over a real radio stack: two processes and the command line, and the link lost at every packet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from locks_on_air import Pair, packets_of, restored_after_a_loss, source_of, two_locks, write_credentials

from lockmigrate.operations.restore import Source
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit

POINTS: Final = 200
"""Of the sweep over every packet (the issue's number)."""
FEW: Final = 5
"""In the plain suite."""
ONE_TIME: Final = 2
"""Type of passcodes that stay behind."""


def rows(memory: dict[str, Any], name: str) -> list[str]:
    """Return what a lock's memory holds of a kind, without one-time codes."""
    held = memory["flash"][name]
    items = held.values() if isinstance(held, dict) else held
    return sorted(json.dumps(item, sort_keys=True) for item in items if item.get("kind", item.get("type")) != ONE_TIME)


@pytest.mark.at_once(seconds=10)
def test_a_full_lock_moves_to_a_fresh_one_in_another_process(tmp_path: Path) -> None:
    with two_locks(tmp_path, "ttlock/full", "ttlock/fresh?seed=5&mac=C1:5E:AA:00:00:05") as pair:
        move(pair)


def move(pair: Pair) -> None:
    old, new, file = pair.old["target"], pair.new["target"], str(pair.folder / "old.age")
    write_credentials(pair, "ttlock")
    seen = {lock["target"]: lock for lock in pair.run("scan", "--for", "0.5", "--hci", pair.old["hci"])["locks"]}
    assert {old, new} <= seen.keys(), "what scan shows can be pasted back"
    assert (seen[old]["state"], seen[new]["state"]) == (None, "factory-fresh")
    held = pair.old["credential"]
    keys = {"aesKey": held["aes_key"], "admin": {"adminPs": held["admin_ps"], "unlockKey": held["unlock_key"]}}
    (pair.folder / "lockData.json").write_text(json.dumps([{"address": held["address"], "privateData": keys}]))
    (pair.folder / "old.toml").unlink()
    pair.run("keys", "import-lock", "lockData.json", "-o", "old.toml")
    paired = pair.run("pair", new, "--credential-file", "new.toml")
    assert (pair.folder / "new.toml").stat().st_mode & 0o777 == 0o600
    sealed = pair.run("backup", old, "--credential-file", "old.toml", "-o", file)
    assert {name: sealed["counts"][name] for name in ("pins", "cards", "fingerprints")} == {
        "pins": 200, "cards": 100, "fingerprints": 50,
    }  # fmt: skip
    planned = pair.run("plan", file, new, "--credential-file", "new.toml")
    assert planned["executable"]
    fingers = [record for record in planned["records"] if record["kind"] == "fingerprint"]
    assert {record["outcome"] for record in fingers} == {"re_enrol"}
    assert len(fingers) == 50
    done = pair.run(
        "restore", file, new, "--credential-file", "new.toml", "--confirm", paired["unit"]["id"], "--skip-rehearsal"
    )
    assert {record["proof"] for record in done["records"] if record["outcome"] == "copy"} == {"V4"}
    verified = pair.run("verify", file, new, "--credential-file", "new.toml")
    assert verified["counts"]["different"] == verified["counts"]["extra"] == 0
    for name in ("passcodes", "cards"):
        assert rows(pair.memory("new"), name) == rows(pair.memory("old"), name), name
    assert len(rows(pair.memory("new"), "cards")) == 100
    pair.run("keys", "export-lock", "new.toml", "-o", "front.lockdata")
    pair.run("keys", "import-lock", "front.lockdata", "-o", "again.toml")
    assert pair.run("info", new, "--credential-file", "again.toml")["unit"]["counts"]["cards"] == 100
    refused = pair.run("info", new, "--credential-file", "old.toml", exit_code=4)
    assert refused["code"] == "credential-of-other-unit"


# ---- lost at every packet -------------------------------------------------------------------------------------------


def held(unit: SimulatedUnit) -> list[str]:
    """Return codes and cards of a lock's memory, without one-time codes."""
    found = [*unit.flash.passcodes.values(), *unit.flash.cards.values()]
    return sorted(repr(vars(item)) for item in found if getattr(item, "kind", None) != ONE_TIME)


async def lost_at(point: int, source: Source, wanted: list[str]) -> None:
    unit = await restored_after_a_loss("ttlock", source, point)
    assert held(unit) == wanted
    assert len(unit.flash.passage) == len(source.snapshot.lock_schedules)


async def test_a_link_that_is_lost_at_a_packet_leaves_a_restore_that_can_be_finished() -> None:
    options = {"passcodes": "6", "cards": "4", "fingers": "2", "log": "3"}
    source = await source_of("sim://ttlock/full?" + "&".join(f"{key}={value}" for key, value in options.items()))
    wanted = held(open_unit(load_profile("ttlock"), "full", options))
    total = await packets_of("ttlock", source)
    for number in range(FEW):
        await lost_at(1 + total * number // FEW, source, wanted)


@pytest.mark.sweep
@pytest.mark.parametrize("tenth", range(10))
async def test_a_link_that_is_lost_at_any_packet_leaves_a_restore_that_can_be_finished(
    tenth: int,
) -> None:
    source = await source_of("sim://ttlock/full")
    wanted = held(open_unit(load_profile("ttlock"), "full", {}))
    total = await packets_of("ttlock", source)
    for number in range(tenth, POINTS, 10):
        await lost_at(1 + total * number // POINTS, source, wanted)

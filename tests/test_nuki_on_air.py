"""Nuki locks over a real radio stack: two processes and the command line, and the link lost at every packet."""

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
FEW: Final = 6
"""In the plain suite."""


def rights(memory: dict[str, Any]) -> list[Any]:
    """Return what every code of a lock's memory allows, without the numbers it goes by."""
    codes = memory["flash"]["codes"]
    rows = codes.values() if isinstance(codes, dict) else codes
    kept = ("code", "name", "enabled", "limits", "limited", "time_limited", "tail")
    return sorted(json.dumps({name: row[name] for name in kept if name in row}, sort_keys=True) for row in rows)


@pytest.mark.at_once(seconds=8)
def test_a_full_lock_moves_to_a_fresh_one_in_another_process(tmp_path: Path) -> None:
    with two_locks(tmp_path, "nuki/full", "nuki/fresh?seed=5") as pair:
        move(pair)


def move(pair: Pair) -> None:
    old, new, file = pair.old["target"], pair.new["target"], str(pair.folder / "old.age")
    write_credentials(pair, "nuki")
    seen = {lock["target"]: lock for lock in pair.run("scan", "--for", "0.5", "--hci", pair.old["hci"])["locks"]}
    assert {old, new} <= seen.keys(), "what scan shows can be pasted back"
    assert seen[new]["state"] == "pairing"
    paired = pair.run("pair", new, "--credential-file", "new.toml")
    assert (pair.folder / "new.toml").stat().st_mode & 0o777 == 0o600
    sealed = pair.run("backup", old, "--credential-file", "old.toml", "-o", file)
    assert sealed["counts"]["pins"] == 100
    assert sealed["counts"]["app_keys"] == 20
    planned = pair.run("plan", file, new, "--credential-file", "new.toml")
    assert planned["executable"]
    invited = [record for record in planned["records"] if record["outcome"] == "reissue" and not record["follows"]]
    assert len(invited) == 19, "all but our own"
    done = pair.run(
        "restore", file, new, "--credential-file", "new.toml", "--confirm", paired["unit"]["id"], "--skip-rehearsal"
    )
    assert {record["proof"] for record in done["records"] if record["outcome"] == "copy"} == {"V4"}
    assert any("unpair" in warning for warning in done["warnings"])
    verified = pair.run("verify", file, new, "--credential-file", "new.toml")
    assert verified["counts"]["different"] == verified["counts"]["extra"] == 0
    assert rights(pair.memory("new")) == rights(pair.memory("old"))
    assert len(rights(pair.memory("new"))) == 100
    pair.run("unpair", new, "--credential-file", "new.toml")
    refused = pair.run("info", new, "--credential-file", "new.toml", exit_code=4)
    assert refused["code"] == "not-authorized"
    assert "pair again" in refused["hint"]


# ---- lost at every packet -------------------------------------------------------------------------------------------


def codes(unit: SimulatedUnit) -> list[Any]:
    return sorted(repr((row.code, row.name, row.enabled, row.limits)) for row in unit.flash.codes.values())


async def lost_at(point: int, source: Source, wanted: list[Any]) -> None:
    unit = await restored_after_a_loss("nuki", source, point)
    assert codes(unit) == wanted
    assert len(unit.flash.timers) == len(source.snapshot.lock_schedules)


async def test_a_link_that_is_lost_at_a_packet_leaves_a_restore_that_can_be_finished() -> None:
    source = await source_of("sim://nuki/full?codes=8&timers=3")
    wanted = codes(open_unit(load_profile("nuki"), "full", {"codes": "8", "timers": "3"}))
    total = await packets_of("nuki", source)
    for number in range(FEW):
        await lost_at(1 + total * number // FEW, source, wanted)


@pytest.mark.sweep
@pytest.mark.parametrize("tenth", range(10))
async def test_a_link_that_is_lost_at_any_packet_of_a_whole_lock_leaves_a_restore_that_can_be_finished(
    tenth: int,
) -> None:
    source = await source_of("sim://nuki/full")
    wanted = codes(open_unit(load_profile("nuki"), "full", {}))
    total = await packets_of("nuki", source)
    for number in range(tenth, POINTS, 10):
        await lost_at(1 + total * number // POINTS, source, wanted)

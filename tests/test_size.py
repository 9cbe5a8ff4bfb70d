"""A large module fits a small computer, and does not take more than its share of questions."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lockmigrate.profiles import load_profile
from lockmigrate.protocols.ef01_door import Ef01Door, open_module
from lockmigrate.sim import open_unit
from lockmigrate.transports.memory import MemoryLink

GROWTH = Path(__file__).parent.parent / "benchmarks" / "growth.py"


@pytest.mark.skipif(
    importlib.util.find_spec("resource") is None, reason="this system has no module `resource` to ask for peak memory"
)
def test_a_thousand_templates_are_backed_up_within_150_megabytes() -> None:
    done = subprocess.run(
        [sys.executable, str(GROWTH), "1000"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"(\d+) templates .* peak +([\d.]+) MiB", done.stdout)
    assert found is not None, done.stdout
    assert found[1] == "1000"
    assert float(found[2]) * 1.048576 < 150


@pytest.mark.parametrize("fill", [10, 100, 1000])
async def test_the_bytes_on_the_wire_grow_with_the_templates_and_with_nothing_else(fill: int) -> None:
    """1,720 bytes a template (LoadChar, UpChar, their acks and twelve packets), and a fixed rest."""
    unit = open_unit(load_profile("r503"), "huge", {"fill": str(fill), "slots": "1000"})
    lock = await open_module(MemoryLink.open(unit.device), Ef01Door(target="sim", port_id="sim", profile=unit.profile))
    async for _ in lock.read():
        pass
    await lock.close()
    total = unit.wire_bytes_in + unit.wire_bytes_out
    assert 0 < total - 1720 * fill < 4000

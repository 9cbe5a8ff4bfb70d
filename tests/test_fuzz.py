"""The fuzz targets of tests/fuzz, for a few hundred examples each: seeds with a few changes, and any bytes."""

from __future__ import annotations

import pytest
from fuzz.run import NAMES
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@st.composite
def near(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with up to four places cut out, overwritten or filled in."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 4))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + length :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_taken_or_refused_with_our_error_only(name: str) -> None:
    target, seeds = TARGETS[name]

    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(near(seeds) | st.binary(max_size=200))
    def check(data: bytes) -> None:
        target(data)

    check()


def test_the_seeds_are_taken() -> None:
    """Else the changes would only ever try what is refused at once."""
    for name, (target, seeds) in TARGETS.items():
        assert seeds, name
        for seed in seeds:
            target(seed)


def test_the_script_knows_every_target() -> None:
    assert set(NAMES) == set(TARGETS)

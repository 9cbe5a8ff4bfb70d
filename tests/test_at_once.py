"""Tests that run beside one another begin together, come last, and fail each for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HEAD = "import threading, pytest\ntogether, begun = threading.Barrier(2, timeout=20), []\n"
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run these tests with our own conftest, in the order in which they stand there."""
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))

    def go(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(HEAD + tests)
        return pytester.runpytest_inprocess("-v", "-p", "no:randomly", *options)

    return go


def test_they_begin_together_and_come_last(run: Run) -> None:
    result = run("""
@pytest.mark.at_once
@pytest.mark.parametrize("number", [1, 2])
def test_waits(number, tmp_path):
    begun.append(tmp_path)
    together.wait()
    assert len(set(begun)) == 2

def test_other():
    assert not begun
""")
    result.assert_outcomes(passed=3)


def test_the_longest_come_first(run: Run) -> None:
    result = run("""
@pytest.mark.at_once
def test_short(): pass

@pytest.mark.at_once(seconds=9)
def test_long(): pass
""")
    result.stdout.fnmatch_lines(["*test_long PASSED*", "*test_short PASSED*"])


def test_a_failure_is_told_of_the_test_that_failed(run: Run) -> None:
    result = run("""
@pytest.mark.at_once
@pytest.mark.parametrize("number", [1, 2, 3])
def test_of(number):
    assert number != 2
""")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*assert 2 != 2*", "FAILED*test_of?2?*"])


def test_only_what_was_asked_for_is_begun(run: Run) -> None:
    result = run(
        """
pytestmark = pytest.mark.at_once(seconds=1)

@pytest.mark.skipif(True, reason="not here")
def test_skipped():
    begun.append(1)

def test_left_out():
    begun.append(2)

@pytest.mark.at_once
def test_chosen():
    assert not begun
""",
        "-k",
        "skipped or chosen",
    )
    result.assert_outcomes(passed=1, skipped=1, deselected=1)


def test_one_that_wants_a_fixture_or_the_loop_is_told_so(run: Run) -> None:
    wants = run("@pytest.mark.at_once\ndef test_that(capsys): pass\n")
    wants.stdout.fnmatch_lines(["*it can have no fixture but tmp_path*"])
    waits = run("@pytest.mark.at_once\nasync def test_that(): pass\n")
    waits.stdout.fnmatch_lines(["*it cannot be async*"])

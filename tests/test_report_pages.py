"""Reports as a browser lays them out, on A4 and on a phone: nothing is wider than the page."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import papers
import pytest
from test_health import ttlock, unit_at

from lockmigrate.model.report import NewPin
from lockmigrate.model.secret import Secret
from lockmigrate.operations.health import judge
from lockmigrate.operations.report import gather
from lockmigrate.report.health import render_health
from lockmigrate.report.page import render, render_pins
from lockmigrate.report.texts import LANGUAGES

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
WIDTHS = {"a4": 794, "phone": 390}
"""CSS pixels: 210 mm at 96 to the inch, and a telephone held upright."""
MEASURE = """
<script>
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    const inside = frame.contentDocument, root = inside.documentElement;
    const out = [...inside.querySelectorAll("body *")].filter(
      (node) => node.getBoundingClientRect().right > root.clientWidth + 0.5);
    const tight = [...inside.querySelectorAll("td.key, td")].filter(
      (node) => node.scrollWidth > node.clientWidth + 1);
    return {name: frame.title, width: root.clientWidth, wanted: root.scrollWidth, height: root.scrollHeight,
      out: out.map((node) => node.outerHTML.slice(0, 120)), tight: tight.map((node) => node.outerHTML.slice(0, 120)),
      rows: inside.querySelectorAll("tr").length, requests: frame.contentWindow.performance.getEntries()
        .filter((entry) => entry.entryType == "resource").length};
  });
  document.body.setAttribute("data-found", JSON.stringify(found));
};
</script>
"""

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(BROWSER is None, reason="Debian's chromium is not installed"),
]


def pages() -> dict[str, str]:
    """The report of three people and of three hundred, and a unit's health, in each language."""
    made = {}
    for people in (3, 300):
        result = gather([papers.backup(people)], [papers.restored(people), papers.wiped()])
        made |= {f"{people}-{lang}": render(result, lang) for lang in LANGUAGES}
    log = tuple(ttlock(seq, "wrong-code", 90 - seq) for seq in range(1, 29))
    backups = [unit_at(day, family="ttlock", log=log, battery_percent=99 - day) for day in range(1, 5)]
    made |= {f"health-{lang}": render_health(judge(backups), lang) for lang in LANGUAGES}
    seen = gather([papers.backup(30)], [papers.restored(30)]).moves[0]
    given = [
        NewPin(record=record, digits=Secret("352282391"), old=Secret("48151623"), unit=seen.unit)
        for record in seen.records
        if record.kind == "pin"
    ]
    result = gather([papers.backup(30)], [])
    made |= {f"pins-{lang}": render_pins(given, result, lang) for lang in LANGUAGES}
    return made


def browse(folder: Path, *arguments: str) -> str:
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={folder / 'browser'}", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_wider_than_the_page(tmp_path: Path) -> None:
    frames = [
        f'<iframe title="{name}-{kind}" width="{width}" height="1200" style="border:0" srcdoc="{html.escape(text)}">'
        "</iframe>"
        for name, text in pages().items()
        for kind, width in WIDTHS.items()
    ]
    harness = tmp_path / "harness.html"
    harness.write_text(f"<!doctype html><meta charset=utf-8><body>{''.join(frames)}{MEASURE}</body>", encoding="utf-8")
    dom = browse(tmp_path, "--dump-dom", harness.as_uri())
    found = json.loads(html.unescape(re.findall(r'data-found="([^"]*)"', dom)[0]))
    assert [item["name"] for item in found] == [f"{name}-{kind}" for name in pages() for kind in WIDTHS]
    for item in found:
        assert item["width"] in WIDTHS.values(), item
        assert item["wanted"] <= item["width"], item
        assert item["out"] == [], item["name"]
        assert item["tight"] == [], item["name"]
        assert item["requests"] == 0, item["name"]
        assert item["rows"] > (600 if item["name"].startswith("300") else 8)


def test_pictures_can_be_taken_of_every_page(tmp_path: Path) -> None:
    for kind, width in WIDTHS.items():
        frames = [
            f'<iframe width="{width}" height="1123" style="border:0" srcdoc="{html.escape(text)}"></iframe>'
            for text in pages().values()
        ]
        harness, picture = tmp_path / f"{kind}.html", tmp_path / f"{kind}.png"
        harness.write_text(
            f"<!doctype html><meta charset=utf-8><body style='margin:0;white-space:nowrap'>{''.join(frames)}</body>",
            encoding="utf-8",
        )
        browse(tmp_path, f"--screenshot={picture}", f"--window-size={width * len(pages()) + 16},1123", harness.as_uri())
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert picture.stat().st_size > 50_000, "an empty page is smaller"

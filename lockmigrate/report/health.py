"""The health of units: its sentences, for the terminal too, and a page with charts drawn as inline SVG."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lockmigrate.model.report import HealthLine, HealthResult
from lockmigrate.report import words
from lockmigrate.report.page import environment, keys_text
from lockmigrate.report.texts import N_, Texts

NO_BASIS: Final = N_("no basis")
SECONDS: Final = N_("s")
WIDTH: Final = 640
HEIGHT: Final = 120
MARGIN: Final = 10
LEFT: Final = 56
"""Room for the figures beside the drawing; all in its own units, which the page scales to its width."""
MOST_KEYS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Points ready to be drawn: a line through them, or a bar each where they are counts of days."""

    dots: tuple[tuple[float, float], ...]
    bars: bool
    low: str
    high: str
    first: str
    last: str

    @property
    def path(self) -> str:
        """The points as SVG's `points`."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.dots)


def render_health(result: HealthResult, lang: str = "en") -> str:
    """Return the page.

    Raises:
        ConfigError: there is no such language.
    """
    t = Texts(lang)
    labels = [unit.unit.label for unit in result.units]
    return (
        environment()
        .get_template("health.html")
        .render(
            t=t,
            w=words,
            r=result,
            title=t(N_("Health of units")),
            doors=list(dict.fromkeys(label for label in labels if label)),
            simulated=any(unit.unit.simulated for unit in result.units),
            said=functools.partial(sentence, t),
            label=functools.partial(label_of, t),
            chart=chart,
            size=(WIDTH, HEIGHT),
            left=LEFT,
            floor=HEIGHT - MARGIN,
        )
    )


def label_of(t: Texts, line: HealthLine) -> str:
    """Return what a line is about."""
    topic = t(words.TOPICS[line.topic])
    if line.topic == "memory" and line.about:
        return f"{topic}: {t(words.COUNTS.get(line.about, line.about))}"
    if line.topic == "changes" and line.about:
        return f"{topic}: {t(words.CHANGES.get(line.about, line.about))}"
    return f"{topic}: {t(words.COUNTS['log_entries'])}" if line.about == "log" else topic


def sentence(t: Texts, line: HealthLine) -> str:
    """Say what is known, or that nothing is."""
    if line.source is None or line.value is None:
        return t(NO_BASIS)
    if line.topic == "changes":
        more = ", …" if len(line.keys) > MOST_KEYS else ""
        return f"{line.value}: {keys_text(line.keys[:MOST_KEYS])}{more}" if line.keys else "0"
    if line.topic == "memory":
        return _memory(t, line)
    if line.topic in ("motor", "failed"):
        return t(N_("%(value)d in %(limit)d lines of the log"), value=line.value, limit=line.limit or 0)
    value = f"{line.value:+d} {t(SECONDS)}" if line.topic == "clock" else f"{line.value} %"
    if line.before is None or (line.before == line.value and line.about != "log"):
        return value
    before = f"{line.before:+d} {t(SECONDS)}" if line.topic == "clock" else f"{line.before} %"
    return t(N_("%(value)s, before: %(before)s"), value=value, before=before)


def _memory(t: Texts, line: HealthLine) -> str:
    if line.limit is None:
        text = t(N_("%(value)d, room not known"), value=line.value)
    else:
        share = round(100 * (line.value or 0) / line.limit) if line.limit else 0
        text = t(N_("%(value)d of %(limit)d (%(share)d %%)"), value=line.value, limit=line.limit, share=share)
    if line.before is None or line.before == line.value:
        return text
    return t(N_("%(value)s, before: %(before)s"), value=text, before=line.before)


def chart(line: HealthLine) -> Chart | None:
    """Lay out at least two points; fewer are no chart. What cannot be negative is drawn from zero."""
    points = line.points
    if len(points) < 2:
        return None
    times = [_seconds(point.at) for point in points]
    known = [time for time in times if time is not None]
    if len(known) != len(times) or known[0] == known[-1]:
        known = [float(number) for number in range(len(points))]
    low, high = _scale(line)
    span = known[-1] - known[0]
    dots = tuple(
        (
            LEFT + (WIDTH - MARGIN - LEFT) * (time - known[0]) / span,
            HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (point.value - low) / (high - low),
        )
        for time, point in zip(known, points, strict=True)
    )
    return Chart(
        dots=dots,
        bars=line.topic in ("motor", "failed"),
        low=f"{low:g}",
        high=f"{high:g}",
        first=points[0].at[:10],
        last=points[-1].at[:10],
    )


def _scale(line: HealthLine) -> tuple[float, float]:
    values = [point.value for point in line.points]
    if line.topic == "battery":
        return 0, 100
    if line.topic == "clock":
        low, high = min(values), max(values)
        return (low, high) if low < high else (low - 1, high + 1)
    return 0, max(*values, line.limit or 0, 1) if line.topic == "memory" else max(*values, 1)


def _seconds(at: str) -> float | None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

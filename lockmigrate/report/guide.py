"""How to connect a unit of a model, from its profile: in the reader's language, and "not known" where nobody says."""

from __future__ import annotations

from typing import Final

from lockmigrate.errors import ProfileError
from lockmigrate.model.report import GuideLine, GuideResult
from lockmigrate.profiles import Bilingual, Profile, SerialFacts, load_profile
from lockmigrate.report import words
from lockmigrate.report.texts import N_, Texts

TOPICS: Final = ("wiring", "voltage", "baud", "wake", "reset")
_FIELDS: Final = {"baud": "speed"}
_CHARACTER: Final = N_("%(baud)d baud, 8 data bits, no parity, 1 stop bit")
_OTHERS: Final = N_("%(first)s; can be set to %(others)s")
NOT_KNOWN: Final = N_("not known")
SOURCES: Final = N_("Sources")


def guide(name: str, lang: str = "en") -> GuideResult:
    """Return the guide of a profile; what it does not say is taken from the generic profile of its family.

    Raises:
        ProfileError: there is no such profile, or it is wrong.
        ConfigError: there is no such language.
    """
    t = Texts(lang)
    own = load_profile(name)
    layers = [own, *_generic(own)]
    sources: dict[str, str] = {}
    lines = [_line(topic, layers, t, sources) for topic in TOPICS]
    for profile in layers:
        if profile.guide.cautions:
            named = _cited(profile, "guide.cautions", sources)
            lines += [
                GuideLine(topic="caution", text=_text(item, t), sources=named, profile=profile.name)
                for item in profile.guide.cautions
            ]
            break
    else:
        lines.append(GuideLine(topic="caution"))
    labels = {topic: t(words.TOPICS[topic]) for topic in (*TOPICS, "caution")}
    labels |= {"not-known": t(NOT_KNOWN), "sources": t(SOURCES)}
    return GuideResult(
        profile=own.name,
        title=own.title,
        evidence=own.evidence,
        lang=lang,
        labels=labels,
        lines=tuple(lines),
        sources=sources,
    )


def _generic(own: Profile) -> list[Profile]:
    if own.name == own.family:
        return []
    try:
        return [load_profile(own.family)]
    except ProfileError:
        return []  # a folder of profiles of one's own may hide the shipped ones


def _line(topic: str, layers: list[Profile], t: Texts, sources: dict[str, str]) -> GuideLine:
    field = _FIELDS.get(topic, topic)
    for profile in layers:
        said: Bilingual | None = getattr(profile.guide, field)
        if said is not None:
            named = _cited(profile, f"guide.{field}", sources)
            return GuideLine(topic=topic, text=_text(said, t), sources=named, profile=profile.name)  # type: ignore[arg-type]
        if topic == "baud" and profile.serial is not None:
            named = _cited(profile, "serial.baud", sources)
            return GuideLine(topic="baud", text=_speed(profile.serial, t), sources=named, profile=profile.name)
    return GuideLine(topic=topic)  # type: ignore[arg-type]


def _speed(line: SerialFacts, t: Texts) -> str:
    first = t(_CHARACTER, baud=line.baud)
    others = ", ".join(str(baud) for baud in line.bauds if baud != line.baud)
    return t(_OTHERS, first=first, others=others) if others else first


def _text(said: Bilingual, t: Texts) -> str:
    return said.en if t.lang == "en" else said.zh_CN


def _cited(profile: Profile, path: str, sources: dict[str, str]) -> tuple[str, ...]:
    """Note the sources of a value; the nearest table above it may name them."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        names = profile.cites.get(".".join(parts[:end]))
        if names:
            for name in names:
                sources.setdefault(f"{profile.name}.{name}", profile.sources[name])
            return tuple(f"{profile.name}.{name}" for name in names)
    return ()

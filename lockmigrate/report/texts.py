"""Sentences in the reader's language, by gettext: English is the source, `locale/` holds the others.

`python docs/make_locale.py` compiles the `.po` files and names messages that lack a translation.
"""

from __future__ import annotations

import gettext
import re
from pathlib import Path
from typing import Any, Final

from lockmigrate.errors import ConfigError
from lockmigrate.model.reasons import REASONS

LANGUAGES: Final = ("en", "zh_CN")
DOMAIN: Final = "lockmigrate"
LOCALE: Final = Path(__file__).parent / "locale"


def N_(text: str) -> str:  # noqa: N802  # gettext's own name
    """Mark a text that is translated where it is shown."""
    return text


DETAILS: Final = (
    (r"opens with the rights of (?P<a>.+)", N_("opens with the rights of %(a)s")),
    (
        r"(?P<name>(?:\".*\", )?)finger (?P<a>\d+), valid from (?P<b>.+) until (?P<c>.+): "
        r"enrol it again, then set these dates",
        N_("%(name)sfinger %(a)s, valid from %(b)s until %(c)s: enrol it again, then set these dates"),
    ),
    (
        r"finger (?P<a>\d+), valid from (?P<b>.+) until (?P<c>.+), has to be enrolled again: "
        r"no lock gives templates out",
        N_("finger %(a)s, valid from %(b)s until %(c)s, has to be enrolled again: no lock gives templates out"),
    ),
    (r"slot (?P<a>\d+) → (?P<b>\d+)(?P<c>), as decided", N_("slot %(a)s → %(b)s, as decided")),
    (r"(?P<a>.*) has to be invited or paired again", N_("%(a)s has to be invited or paired again")),
    (r"the template is (?P<a>.+), the target takes (?P<b>.+)", N_("the template is %(a)s, the target takes %(b)s")),
    (r"the old unit did not give it out", N_("the old unit did not give it out")),
    (r"it may be spent already", N_("it may be spent already")),
    (r"its last day is over", N_("its last day is over")),
    (r"its user is not written", N_("its user is not written")),
    (r"invite again", N_("invite again")),
    (r"pair it again", N_("pair it again")),
    (r"pair the bridge again", N_("pair the bridge again")),
    (r"pair the fob again", N_("pair the fob again")),
    (r"the target holds no such records", N_("the target holds no such records")),
    (r"the target has room for (?P<a>\d+) fingers", N_("the target has room for %(a)s fingers")),
    (r"the new lock has room for (?P<a>\d+) codes", N_("the new lock has room for %(a)s codes")),
    (r"finger (?P<a>\d+)", N_("finger %(a)s")),
    (r"valid from (?P<b>.+) until (?P<c>.+)", N_("valid from %(b)s until %(c)s")),
    (r"only (?P<week>.+)", N_("only %(week)s")),
    (r"it is switched off on the old unit", N_("it is switched off on the old unit")),
    (r"written without it, as decided", N_("written without it, as decided")),
    (r"left out, as decided", N_("left out, as decided")),
    (r"it was (?P<a>[a-z0-9:-]+), (?P<week>.+)", N_("it was %(a)s, %(week)s")),
    (r"it was (?P<a>.+)", N_("it was %(a)s")),
    (
        r"what it was made as, before it was changed, stays in the backup",
        N_("what it was made as, before it was changed, stays in the backup"),
    ),
    (r"it opens at all hours, as decided", N_("it opens at all hours, as decided")),
    (r"it opens for ever, as decided", N_("it opens for ever, as decided")),
    (r"its first day is past, so that it limits nothing any more", N_("its first day is past")),
    (r"number (?P<a>\d+) on the new unit", N_("number %(a)s on the new unit")),
    (
        r"number (?P<a>\d+) on the new unit, which is typed before the PIN",
        N_("number %(a)s on the new unit, which is typed before the PIN"),
    ),
    (
        r"its hours go over midnight, and what that means on the old lock is not published",
        N_("its hours go over midnight, and what that means on the old lock is not published"),
    ),
    (r"its dates do not exist: leave it out and give it out anew", N_("its dates do not exist")),
    (
        r"what its time zones or its group allow was not read: write it valid at all hours, or leave it out",
        N_("what its time zones or its group allow was not read"),
    ),
    (
        r"the old unit did not tell in which way this user has to verify: write what it has, each alone, or not",
        N_("the old unit did not tell in which way this user has to verify"),
    ),
    (r"others had the same PIN on the old unit", N_("others had the same PIN on the old unit")),
    (r"the new unit has no fingerprint reader", N_("the new unit has no fingerprint reader")),
    (
        r"until (?P<a>.+), the last date that the new lock knows",
        N_("until %(a)s, the last date that the new lock knows"),
    ),
    (r"gets a new PIN: tell the person", N_("gets a new PIN: tell the person")),
    (r"the name goes to the person's code", N_("the name goes to the person's code")),
    (r"its hours go with each code that it limits", N_("its hours go with each code that it limits")),
    (r"nothing that is written goes by it", N_("nothing that is written goes by it")),
    (r"the new lock cannot hold it switched off", N_("the new lock cannot hold it switched off")),
    (r"it never opens the old unit", N_("it never opens the old unit")),
    (r"it alone does not open the old unit", N_("it alone does not open the old unit")),
    (r"the new unit takes no cards", N_("the new unit takes no cards")),
    (r"the new unit takes no PINs", N_("the new unit takes no PINs")),
    (
        r"it is limited to weekdays or hours, which the new lock cannot limit it to",
        N_("it is limited to weekdays or hours, which the new lock cannot limit it to"),
    ),
    (
        r"that it is limited is known, and not how: write it without that limit, or leave it out and give it out anew",
        N_("that it is limited is known, and not how"),
    ),
    (
        r"on the old unit it has to prove two things, on the new lock one opens",
        N_("on the old unit it has to prove two things, on the new lock one opens"),
    ),
    (
        r"on the old unit it opens only together with others",
        N_("on the old unit it opens only together with others"),
    ),
    (
        r"the new unit has no finger with a silent alarm",
        N_("the new unit has no finger with a silent alarm"),
    ),
    (
        r"by the same number, as decided; try it at the door|by the same number, as decided",
        N_("by the same number, as decided"),
    ),
    (r"its bytes in the other order, as decided", N_("its bytes in the other order, as decided")),
    (r"try it at the door", N_("try it at the door")),
)
"""Details of records that are translated, as expression and message; any other is shown as the program wrote it."""
EDGES: Final = {"always": N_("always"), "for ever": N_("for ever"), "no templates": N_("no templates")}
"""Words that stand in place of a fact in such a detail."""

PHRASES: Final = (N_("every day"), N_("switched off"))
"""The same of other words about times."""
WEEK: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
"""Days as details name them; their translations are those of `words.DAYS`."""


class Texts:
    """The sentences of one language."""

    def __init__(self, lang: str) -> None:
        """Load a language.

        Raises:
            ConfigError: there is no such language.
        """
        if lang not in LANGUAGES:
            raise ConfigError(f'no report is written in "{lang}"', hint=f"there are {', '.join(LANGUAGES)}")
        self.lang = lang
        self._known: gettext.NullTranslations
        if lang == "en":
            self._known = gettext.NullTranslations()
        else:
            self._known = gettext.translation(DOMAIN, LOCALE, languages=[lang])

    @property
    def tag(self) -> str:
        """The language as HTML names it."""
        return self.lang.replace("_", "-")

    def __call__(self, text: str, **facts: Any) -> str:
        """Translate a text, then fill in facts by their names."""
        found = self._known.gettext(text) if text else ""
        return found % facts if facts else found

    def reason(self, code: str) -> str:
        """Return the sentence for a machine code; an unknown code stands for itself."""
        return self(REASONS[code]) if code in REASONS else code

    def reasons(self, codes: tuple[str, ...]) -> str:
        """Return the sentences for all codes of one record."""
        return self("; ").join(self.reason(code) for code in codes)

    def detail(self, text: str | None) -> str:
        """Translate a record's detail, or the parts of it, where it has a form that we know."""
        known = self._form(text or "")
        if known is not None or not text:
            return known or ""
        return self("; ").join(self._form(part) or part for part in text.split("; "))

    def _form(self, text: str) -> str | None:
        for pattern, message in DETAILS:
            match = re.fullmatch(pattern, text)
            if match:
                return self(message) % {name: self._fact(name, value) for name, value in match.groupdict().items()}
        return None

    def _fact(self, name: str, value: str) -> str:
        if name == "week":
            for phrase in PHRASES:
                value = value.replace(phrase, self(phrase))
            return " ".join(self(word) if word in WEEK else word for word in value.split(" "))
        return self(EDGES.get(value, "")) or value

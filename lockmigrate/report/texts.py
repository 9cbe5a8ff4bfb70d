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
)
"""Details of records that are translated, as expression and message; any other is shown as the program wrote it."""
EDGES: Final = {"always": N_("always"), "for ever": N_("for ever"), "no templates": N_("no templates")}
"""Words that stand in place of a fact in such a detail."""


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
        """Translate a record's detail where it has a form that we know."""
        for pattern, message in DETAILS if text else ():
            match = re.fullmatch(pattern, text or "")
            if match:
                facts = {name: self(EDGES.get(value, "")) or value for name, value in match.groupdict().items()}
                return self(message) % facts
        return text or ""

"""A record on its way to a unit of another family: what it will be, what changes, and what is still open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Window
from lockmigrate.model.results import WRITTEN, RecordResult
from lockmigrate.planning.policy import Answer, Choice, Policy, decided, overridden

LEFT_OUT: Final = "left out, as decided"


@dataclass(slots=True)
class Shape:
    """A record in the making. All its questions are put at once, so that no answer settles one that was not shown."""

    result: RecordResult
    policy: Policy
    value: str = field(default="", repr=False)
    size_bytes: int = 4
    name: str = ""
    week: Window | None = None
    start: str | None = None
    end: str | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Questions without an answer: reason and words."""
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether it is settled that it is not written."""
        return self.result.outcome not in WRITTEN

    def change(self, code: str, detail: str | None = None) -> None:
        """Say that it will not be the very same; what is left out stays left out."""
        if self.stopped:
            return
        reasons = tuple(dict.fromkeys((*self.result.reasons, code)))
        self.result = replace(
            self.result, outcome="adjust", reasons=reasons, detail=joined((self.result.detail, detail))
        )

    def skip(self, code: str, detail: str) -> None:
        """Leave it out."""
        if not self.stopped:
            self.result = replace(self.result, outcome="skip", reasons=(code,), detail=detail)

    def question(
        self, reason: str, detail: str, suits: tuple[Choice, ...] = ("skip",), *, then: str | None = None
    ) -> None:
        """Ask whether it is to be written all the same; what is let through says so, by `then` if that is given."""
        if self.ask(reason, detail, suits) is not None:
            self.change(reason, then or detail)

    def ask(self, reason: str, detail: str, suits: tuple[Choice, ...] = ("skip",), *others: str) -> Answer | None:
        """Ask what a person has to supply or decide; None where that is open, or where it is left out.

        Args:
            reason: code of the question.
            detail: its words.
            suits: choices that answer it.
            *others: more codes of the same question.
        """
        if self.stopped:
            return None
        asked = replace(self.result, outcome="needs_input", reasons=(reason, *others), detail=detail)
        answer = decided(asked, self.policy, suits)
        if answer is None:
            self.asked += [(code, detail) for code in asked.reasons]
            return None
        if answer.choice == "skip":
            self.result = replace(asked, outcome="skip")
            return None
        return answer

    def refuse(self, reason: str, detail: str, *, final: bool = False, then: str | None = None) -> None:
        """Refuse it, because it would widen a right; only an answer to this very record overrides that.

        `final`: not even that, as there is nothing that could be written.
        """
        if self.stopped:
            return
        refused = replace(self.result, outcome="refuse", reasons=(reason,), detail=detail)
        choice = overridden(refused, self.policy)
        if choice is None or (final and choice == "override"):
            self.refused.append((reason, detail))
        elif choice == "skip":
            self.result = replace(refused, outcome="skip")
        else:
            self.change(reason, then or detail)

    def settled(self) -> RecordResult:
        """Return what becomes of it."""
        if self.stopped:
            return replace(self.result, new_pin=False, pin_check=None)
        if any(item.key == self.result.key and item.choice == "skip" for item in self.policy.decisions.answer):
            said = tuple(code for code, _ in (*self.refused, *self.asked)) or ("as-decided",)
            return replace(self.result, outcome="skip", reasons=said, detail=LEFT_OUT, new_pin=False, pin_check=None)
        if not (self.asked or self.refused):
            return self.result
        return replace(
            self.result,
            outcome="refuse" if self.refused else "needs_input",
            reasons=tuple(dict.fromkeys(code for code, _ in (*self.refused, *self.asked))),
            detail=joined(detail for _, detail in (*self.refused, *self.asked)),
            new_pin=False,
            pin_check=None,
        )


def joined(parts: Iterable[str | None]) -> str | None:
    """Put what is said together, each thing once."""
    return "; ".join(dict.fromkeys(part for part in parts if part)) or None

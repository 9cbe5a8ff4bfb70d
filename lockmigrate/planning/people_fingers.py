"""Fingers of people: a template keeps its place and goes with its user, or waits for a person's word."""

from __future__ import annotations

from msgspec.structs import replace

from lockmigrate.model.records import Credential
from lockmigrate.model.results import WRITTEN, RecordResult
from lockmigrate.model.steps import Step
from lockmigrate.planning.doors import UNKNOWN
from lockmigrate.planning.people_parts import (
    DOUBTS,
    SKIP_ONLY,
    WIDER,
    Place,
    Scene,
    doubts_of,
    fingers_of,
    flag_of,
    place_of,
)
from lockmigrate.planning.templates import fit


class Fingers:
    """Works out what becomes of the fingerprints, once that of the users is settled."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._doubts = doubts_of(scene.source)
        self._held: dict[Place, list[Credential]] = {}
        for item in fingers_of(scene.target):
            place = place_of(item)
            if place[0] not in scene.cleared or scene.is_file:
                self._held.setdefault(place, []).append(item)
        self._taken = {place_of(item) for item in fingers_of(scene.source) if self._there(item)}
        """Places that are or will be taken: what is equal counts before what is new."""
        if scene.merging:
            self._taken |= self._held.keys()
        self.steps: list[Step] = []

    def work(self) -> None:
        """Fill outcomes, places and steps; where room is short, fingers that open come first (neutral-format 6.3)."""
        wanted = fingers_of(self._scene.source)
        for item in sorted(wanted, key=lambda item: item.status == "disabled"):
            self._scene.outcomes[item.key] = self._judge(item)
        order = {item.key: index for index, item in enumerate(wanted)}
        self.steps.sort(key=lambda step: order[step.key])

    def _judge(self, item: Credential) -> RecordResult:
        scene, place = self._scene, place_of(item)
        result = RecordResult(key=item.key, kind="fingerprint", outcome="copy")
        if item.template is None:
            return replace(result, outcome="re_enrol", reasons=("template-unreadable",))
        if place not in scene.places and item.user in scene.written and self._there(item):
            # Before any other question: what an interrupted run has finished is not asked about again (decision 19).
            scene.places.add(place)
            return replace(result, done=True, proof="V4")
        for code in self._doubts.get(item.key, ()):
            result = scene.ask(result, code, DOUBTS[code])
            if result.outcome not in WRITTEN:
                return result
        if item.user not in scene.written:
            return self._left_behind(item, result)
        capability = scene.unit.capabilities.credentials.fingerprint
        verdict = fit(item.template.template_format, capability)
        if verdict != "fits":
            takes = ", ".join(capability.template_formats) if capability else ""
            detail = f"the template is {item.template.template_format}, the target takes {takes or 'no templates'}"
            return replace(result, outcome="re_enrol", reasons=(verdict,), detail=detail)
        if place in scene.places:
            return scene.ask(result, "uid-duplicate", "another template of the backup takes this place", SKIP_ONLY)
        for code in scene.looser.get(item.user or "", ()):
            if code == UNKNOWN:
                detail = "its user is on the target already, and whether that allows the same cannot be told"
                result = scene.ask(result, code, detail)
            else:
                result = scene.refuse(result, code, f"its user is on the target already: {WIDER[code]}")
            if result.outcome not in WRITTEN:
                return result
        result = self._room(item, place, result)
        if result.outcome in WRITTEN:
            scene.places.add(place)
            self._taken.add(place)
            self._put(item, place)
        return result

    def _left_behind(self, item: Credential, result: RecordResult) -> RecordResult:
        owner = self._scene.outcomes.get(item.user or "")
        if owner is None:
            return self._scene.ask(result, "user-missing", DOUBTS["user-missing"], SKIP_ONLY)
        detail = "its user is not written"
        return replace(result, outcome=owner.outcome, reasons=owner.reasons, detail=detail, follows=owner.key)

    def _room(self, item: Credential, place: Place, result: RecordResult) -> RecordResult:
        scene, held = self._scene, self._held.get(place, [])
        capability = scene.unit.capabilities.credentials.fingerprint
        slots = capability.slots if capability else None
        if slots is not None and len(self._taken) + (place not in self._taken) > slots:
            return scene.ask(result, "capacity", f"the target has room for {slots} templates", SKIP_ONLY)
        if held and item.key not in scene.unconfirmed:
            if scene.merging:
                result = scene.ask(result, "capacity", "the target holds another template for this finger")
                if result.outcome not in WRITTEN:
                    return result
            scene.draft.overwrites += [other.key for other in held]
        return result

    def _put(self, item: Credential, place: Place) -> None:
        held = place in self._held and item.key not in self._scene.unconfirmed
        self.steps.append(
            Step(
                key=item.key,
                kind="fingerprint",
                action="put",
                origin={"user_index": place[0], "finger": place[1], "flag": flag_of(item)},
                value=self._scene.source.bytes_of(item.template.template) if item.template else None,
                was_empty=not held,
            )
        )

    def _there(self, item: Credential) -> bool:
        """Whether the very template lies in its place on the target, as the only one."""
        held = self._held.get(place_of(item), [])
        mine, theirs = item.template, held[0].template if len(held) == 1 else None
        if mine is None or theirs is None or flag_of(item) != flag_of(held[0]):
            return False
        return self._scene.source.bytes_of(mine.template) == self._scene.target.bytes_of(theirs.template)

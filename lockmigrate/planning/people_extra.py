"""What else is on the target: what stays there, what makes room, and which step rests on which."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from lockmigrate.model.records import Credential, User
from lockmigrate.model.steps import Step
from lockmigrate.planning.doors import Doors, Member, member_of
from lockmigrate.planning.draft import StepId, step_id
from lockmigrate.planning.people_parts import Place, Scene, fingers_of, place_of, uid_of
from lockmigrate.planning.people_tables import Tables


class Extra:
    """Finds what of the target the plan would not write, and takes away what has to go."""

    def __init__(self, scene: Scene, tables: Tables, put: Iterable[Step]) -> None:
        self._scene = scene
        self._tables = tables
        self._put = {(int(step.origin["user_index"]), int(step.origin["finger"])) for step in put}
        self._users = scene.target.users
        self._fingers = [item for item in fingers_of(scene.target) if place_of(item) not in scene.places]
        self._leaving = {uid_of(user) for user in self._users} - scene.uids
        self.steps: list[Step] = []

    def work(self) -> None:
        """Fill what is listed of the target, and the steps that take people and fingers away."""
        scene, draft = self._scene, self._scene.draft
        replacing = scene.policy.existing == "replace"
        if scene.merging:
            draft.overwrites += [item.key for item in self._fingers if place_of(item)[0] in scene.cleared]
        draft.overwrites += self._changed()
        extra = [*(user.key for user in self._users if uid_of(user) in self._leaving)]
        extra += [item.key for item in self._fingers]
        extra += [item.key for item in self._tables.surplus]
        draft.existing = list(dict.fromkeys([*extra, *draft.overwrites]))
        draft.removals = extra
        going = (self._leaving if replacing else set()) | (set() if scene.is_file else scene.cleared)
        for item in sorted(fingers_of(scene.target), key=place_of):
            uid, wanted = place_of(item)[0], place_of(item) in scene.places
            surplus = not wanted and (replacing or uid in scene.cleared)
            if uid not in going and (surplus or self._in_the_way(item)):
                self.steps.append(_finger_step(item))
        for uid in sorted(going):
            self.steps.append(self._user_step(uid))

    def _in_the_way(self, item: Credential) -> bool:
        """Whether another template takes a finger's place, and its user may come to do more before that happens."""
        return place_of(item) in self._put and bool(self._tables.steps)

    def _changed(self) -> Iterable[str]:
        """Fingers that make room with their user and do not come back as they were."""
        source = fingers_of(self._scene.source)
        back = {(place_of(item), item.template.sha256) for item in source if item.template}
        for item in fingers_of(self._scene.target):
            place = place_of(item)
            if place[0] in self._scene.cleared and place in self._scene.places:
                digest = item.template.sha256 if item.template else ""
                if (place, digest) not in back:
                    yield item.key

    def _user_step(self, uid: int) -> Step:
        keys = [user.key for user in self._users if uid_of(user) == uid]
        fingers = [item.key for item in self._fingers if place_of(item)[0] == uid]
        return Step(
            key=keys[0],
            kind="user",
            action="remove",
            origin={"user_index": uid},
            also=(*keys[1:], *fingers),  # deleting a user takes the templates along
            was_empty=False,
        )


def _finger_step(item: Credential) -> Step:
    uid, finger = place_of(item)
    origin = {"user_index": uid, "finger": finger}
    return Step(key=item.key, kind="fingerprint", action="remove", origin=origin, was_empty=False)


def link(scene: Scene, tables: Tables, gone: Iterable[Step], users: Iterable[Step], fingers: Iterable[Step]) -> None:
    """Say which step must not happen if another did not: nobody is let in on what is not there as planned."""
    if scene.is_file:
        return
    needs = scene.draft.needs
    gone = list(gone)
    # A finger too that could not be taken away must not come to open by a change of the tables.
    away = tuple(step_id(step) for step in gone)
    by_uid: dict[int, list[StepId]] = {}
    by_place: dict[Place, list[StepId]] = {}
    for step in gone:
        uid = int(step.origin["user_index"])
        by_uid.setdefault(uid, []).append(step_id(step))
        if step.kind == "fingerprint":
            by_place.setdefault((uid, int(step.origin["finger"])), []).append(step_id(step))
    before: tuple[StepId, ...] = ()
    for step in tables.steps:
        needs[step_id(step)] = (*away, *before)
        before = (step_id(step),) if tables.linked else ()
    states = (tables.before, tables.mine, tables.now)

    @cache
    def under(member: Member) -> tuple[StepId, ...]:
        return tuple(step_id(step) for step in tables.steps if _rests(states, member, step))

    people = {user.key: user for user in scene.source.users}
    put = {}
    for step in users:
        uid = int(step.origin["user_index"])
        put[uid] = step_id(step)
        needs[put[uid]] = (*by_uid.get(uid, ()), *under(member_of(people[step.key])))
    put_fingers = {step.key for step in fingers}
    for item in fingers_of(scene.source):
        uid = place_of(item)[0]
        if item.key in put_fingers:
            # A user who was there already may get a finger only once the tables are as planned.
            rests = (put[uid],) if uid in put else under(member_of(people[item.user or ""]))
            needs["put", item.key] = (*rests, *by_place.get(place_of(item), ()))
        elif uid in by_uid:
            needs["put", item.key] = tuple(by_uid[uid])  # some units take all fingers where one was meant


def _rests(states: Iterable[Doors], member: Member, step: Step) -> bool:
    number = int(step.origin["number"])
    return any(doors.rests(member, step.kind, number) for doors in states)  # type: ignore[arg-type]  # tables' steps only


def staying(users: Iterable[User]) -> dict[Member, list[int]]:
    """Sort users by what they may do."""
    found: dict[Member, list[int]] = {}
    for user in users:
        found.setdefault(member_of(user), []).append(uid_of(user))
    return found

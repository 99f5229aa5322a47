"""What all services over one volume stand on, each part made when it is first used.

The volume and the parts of the store, Redis, the remotes, and the desk where operations come from. It knows
no verb but the two that make room, for every operation may need it.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from worker.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config.settings import Settings
    from caskeeper.coordination import Coordination
    from caskeeper.layout import Layout
    from worker.remote import RemotePool
    from worker.services.cleanup import Cleanup
    from worker.services.desk import OperationDesk
    from worker.services.healing import Healing
    from worker.services.maintenance import Maintenance
    from worker.services.naming import Naming
    from worker.services.presence import Presence
    from worker.services.recount import Recount
    from worker.services.space import Space
    from worker.store.closures import Closures
    from worker.store.companion.owner import Companion
    from worker.store.objects import Objects
    from worker.store.pins import Pins
    from worker.store.refs import Refs
    from worker.store.volume import Volume


class Foundation:
    """What the services share. ``close`` it at the end."""

    def __init__(
        self,
        settings: Settings,
        volume: Volume,
        coordination: Coordination,
        remotes: Callable[[], RemotePool],
    ) -> None:
        """Contacts nobody. ``remotes`` is called once, when somebody wants one."""
        self.settings = settings
        self.volume = volume
        self.coordination = coordination
        self._pool = remotes

    @property
    def layout(self) -> Layout:
        """Where everything is on the volume."""
        return self.volume.layout

    def close(self) -> None:
        """Leases of operations still running run out; connections are closed."""
        made = vars(self)
        with ExitStack() as last:
            last.callback(self.coordination.close)
            if "remotes" in made:
                last.callback(self.remotes.close)
            if "desk" in made:
                last.callback(self.desk.close)
            if "companion" in made:
                last.callback(self.companion.close)

    # The store, and what is known of it

    @Part
    def remotes(self) -> RemotePool:
        """Other caches."""
        return self._pool()

    @Part
    def objects(self) -> Objects:
        """The contents on the volume."""
        from worker.store.objects import Objects

        return Objects(self.volume)

    @Part
    def refs(self) -> Refs:
        """What names artifacts."""
        from worker.store.refs import Refs

        return Refs(self.volume)

    @Part
    def closures(self) -> Closures:
        """What each artifact consists of."""
        from worker.store.closures import Closures

        return Closures(self.volume)

    @Part
    def pins_on_disk(self) -> Pins:
        """What stays until it is unpinned."""
        from worker.store.pins import Pins

        return Pins(self.volume)

    @Part
    def naming(self) -> Naming:
        """How refs are claimed and published."""
        from worker.services.naming import Naming

        return Naming(self.refs, self.coordination)

    @Part
    def companion(self) -> Companion:
        """A second process for large trees."""
        from worker.store.companion.owner import Companion

        return Companion(self.volume)

    @Part
    def presence(self) -> Presence:
        """Whether all of an artifact is here."""
        from worker.services.presence import Presence

        return Presence(self.closures, self.objects)

    @Part
    def space(self) -> Space:
        """How much may be on the volume."""
        from worker.services.space import Space

        return Space(self.settings, self.volume, self.coordination)

    @Part
    def maintenance(self) -> Maintenance:
        """The way to the one lease."""
        from worker.services.maintenance import Maintenance

        return Maintenance(
            volume=self.volume,
            refs=self.refs,
            closures=self.closures,
            objects=self.objects,
            pins=self.pins_on_disk,
            coordination=self.coordination,
            may_come_back=lambda ref: bool(self.settings.remotes_for(ref.project)),
        )

    # Two verbs: an operation that finds no room has a cleanup made

    @Part
    def compute_size(self) -> Recount:
        """Counts what is on the volume."""
        from worker.services.recount import Recount

        return Recount(self.maintenance)

    @Part
    def cleanup(self) -> Cleanup:
        """Makes room."""
        from worker.services.cleanup import Cleanup

        return Cleanup(self.maintenance, self.space, self.compute_size, companion=self.companion)

    # Where operations come from, and what stands around them

    @Part
    def desk(self) -> OperationDesk:
        """Where operations come from."""
        from worker.services.desk import OperationDesk
        from worker.services.relief import relieve
        from worker.services.room import Room

        return OperationDesk(
            volume=self.volume,
            objects=self.objects,
            coordination=self.coordination,
            space=self.space,
            make_ready=self.maintenance.ensure_ready,
            room=Room(self.cleanup, self.space, clock_margin_s=self.settings.leases.clock_margin_s),
            relieve=partial(relieve, self.maintenance),
            companion=self.companion,
        )

    @Part
    def healing(self) -> Healing:
        """Who takes damaged content away."""
        from worker.services.healing import Healing
        from worker.services.restoring import Restore

        restore = Restore(self.desk, settings=self.settings, remotes=self.remotes)
        return Healing(self.maintenance, restore)

"""Extract: check an artifact out, shared by links or as a private copy (AC-53 to AC-57, D-8 to D-10)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import ExtractResult
from caskeeper.errors import Busy, InvalidRequest, LeaseLost, VolumeFailed
from caskeeper.layout import relative_subdir
from caskeeper.roots import below_roots, is_own
from worker.closure import descend, part_of
from worker.services.naming import ATTEMPTS
from worker.store.checkout_copy import checkout_copy
from worker.store.checkout_links import checkout_links
from worker.store.closures import Closures
from worker.store.volume import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.contract import ExtractRequest
    from worker.protocols import Context
    from worker.services.desk import OperationDesk
    from worker.services.naming import Naming
    from worker.services.operations import Operation
    from worker.store.companion.owner import Companion
    from worker.store.refs import RefRecord


class Extract:
    """The verb ``artifacts.extract``: a reader. What was left out when it was pulled is left out here."""

    def __init__(
        self,
        desk: OperationDesk,
        naming: Naming,
        *,
        roots: Sequence[str],
        companion: Companion | None = None,
    ) -> None:
        self._desk = desk
        self._naming = naming
        self._closures = Closures(desk.volume)
        self._roots = roots
        self._companion = companion

    def __call__(self, request: ExtractRequest, context: Context) -> ExtractResult:
        """The artifact's folder in the cache, never the sub-directory (AC-55); or ``destination``, which
        becomes the artifact, or its ``subdir`` alone.

        Raises ArtifactNotFound, BlobMissing, PartialArtifact for a subdir that was left out,
        DestinationExists, InvalidRequest.
        """  # noqa: D205 -- two ways, one sentence
        ref = Ref.parse(request.ref, where="ref")
        subdir = None if request.subdir is None else relative_subdir(request.subdir)
        destination = None if request.destination is None else self._destination(request.destination)
        with self._desk.reader("extract", str(ref), context) as operation:
            context = context._replace(check=operation.check)
            record = self._naming.claim(operation, ref)
            self._naming.used([ref], touch=True)
            if subdir is not None:
                where = f"ref {ref}"
                part_of(record.scope, subdir, where=where)
                descend(record.root, subdir, self._desk.objects.directory, where=where)
            if destination is None:
                path = self._shared(operation, ref, record, subdir, context)
            else:
                path = destination
                self._examine(record)
                checkout_copy(
                    record.root,
                    path,
                    blobs=operation.blobs,
                    context=context,
                    scope=record.scope,
                    subdir=subdir,
                    companion=self._companion,
                )
        return ExtractResult(path=path)

    def gain(self, ref: Ref, subdir: str, context: Context) -> None:
        """After a pull of ``subdir``: a shared extract that is there already gains it (AC-70)."""
        record = self._naming.refs.read(ref)
        if record is None or not os.path.isdir(self._place(ref, record)):
            return
        with self._desk.reader("extract", str(ref), context) as operation:
            context = context._replace(check=operation.check)
            record = self._naming.claim(operation, ref)
            path = self._place(ref, record)
            if os.path.isdir(path):
                self._add_subdir(operation, path, record, subdir, context)

    def _place(self, ref: Ref, record: RefRecord) -> str:
        return self._desk.volume.layout.extract(ref, record.root.hash)

    def _destination(self, path: str) -> str:
        """Raises InvalidRequest for a folder that only this program may fill."""
        real = below_roots(path, self._roots, where="destination")
        if is_own(self._desk.volume.layout.root, real):
            raise InvalidRequest(
                f"{path[:200]!r} is a folder of the cache itself", "argument destination", "use another"
            )
        return real

    def _shared(
        self, operation: Operation, ref: Ref, record: RefRecord, subdir: str | None, context: Context
    ) -> str:
        """Built aside and renamed into place: nobody sees a half, and a fenced reader leaves none (AC-56).

        One that was made when less of the artifact was here gains the folders that have come since, unless
        a `remove` of the element's other ref takes it away meanwhile: then it is made anew.
        """
        path = self._place(ref, record)
        for _attempt in range(ATTEMPTS):
            if not os.path.isdir(path):
                self._examine(record)
                staged = operation.staging.path()
                copied = checkout_links(
                    record.root,
                    staged,
                    blobs=operation.blobs,
                    context=context,
                    scope=record.scope,
                    companion=self._companion,
                )
                self._move(operation, staged, path, copied_bytes=copied)
            scope, folders = record.scope, self._desk.objects.directory(record.root).directories
            wanted = [entry.name for entry in folders if entry.name not in scope.excluded]
            wanted += [*scope.included, *([] if subdir is None else [subdir])]
            if all(self._add_subdir(operation, path, record, name, context) for name in wanted):
                return path
        raise Busy("its checkout is taken away again and again", f"ref {ref}")

    def _examine(self, record: RefRecord) -> None:
        """Only a tree that was walked is laid out: a few messages made to harm unfold without end.

        Whoever publishes walks, and leaves a closure list; an adopted cache brings refs without one.
        """
        self._closures.obtain(record.root, record.scope, self._desk.objects)

    def _add_subdir(
        self, operation: Operation, path: str, record: RefRecord, subdir: str, context: Context
    ) -> bool:
        """AC-55, third case: only that sub-tree, together with the folders above it that are missing.

        False: the whole checkout was taken away; it is never made again as a part of itself.
        """
        names = subdir.split("/")
        above = 0
        while above < len(names) and _is_folder(f"{path}/{'/'.join(names[: above + 1])}"):
            above += 1
        if above == len(names):
            return True
        staged = operation.staging.path()
        inner = staged
        for name in names[above + 1 :]:
            self._desk.volume.make_folder(inner)
            inner = f"{inner}/{name}"
        copied = checkout_links(
            record.root,
            inner,
            blobs=operation.blobs,
            context=context,
            scope=record.scope,
            subdir=subdir,
            companion=self._companion,
        )
        place = f"{path}/{'/'.join(names[: above + 1])}"
        return self._move(operation, staged, place, copied_bytes=copied, make_way=False)

    def _move(
        self, operation: Operation, staged: str, path: str, *, copied_bytes: int, make_way: bool = True
    ) -> bool:
        """False: without ``make_way``, the folder it should go into is gone."""
        operation.check()
        outcome = self._desk.volume.move_folder(staged, path, make_way=make_way)
        if outcome is Outcome.GONE:
            if not make_way and os.path.lexists(staged):
                return False
            raise LeaseLost("its checkout was taken away", staged)
        if outcome is Outcome.DONE:
            operation.staging.add(copied_bytes)
        # THEIRS: another one was faster with the same content; ours goes with the operation (AC-56)
        return True


def _is_folder(path: str) -> bool:
    """False = not there. Raises InvalidRequest when something else stands there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise VolumeFailed(str(error), path) from error
    if not stat.S_ISDIR(mode):
        raise InvalidRequest(f"{os.path.basename(path)!r} is not a folder", f"extract {path}")
    return True

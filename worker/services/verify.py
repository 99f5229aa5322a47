"""Verify: look at everything on the volume, and mend it when asked to (safety.md section 5, full sweep).

The look holds no lease and makes nothing younger: workers go on beside it. What is younger than the horizon
may belong to one of them and is no finding. A repair mends under the lease what it finds there again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caskeeper.contract import ComputeSizeRequest, ComputeSizeResult, VerifyResult
from caskeeper.errors import InvalidRequest, LeaseLost, PermissionDenied, VolumeFailed
from worker.services import findings as kinds
from worker.services.findings import Findings
from worker.services.lost_format import gone
from worker.services.verify_content import NOTHING, Reader, Sample
from worker.services.verify_files import FilesLook, look_at_leftovers
from worker.services.verify_identity import Identity
from worker.services.verify_refs import RefsLook
from worker.services.verify_repair import Repair
from worker.store.failures import failure
from worker.store.measure import used_bytes
from worker.store.quarantine import Quarantine
from worker.store.whole import broken_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.artifact import Ref
    from caskeeper.contract import VerifyRequest
    from worker.protocols import Context
    from worker.services.cleanup import Cleanup
    from worker.services.desk import OperationDesk
    from worker.services.healing import Healing
    from worker.services.maintenance import Maintenance
    from worker.services.pull import Pull
    from worker.services.recount import Recount
    from worker.store.quarantine import Quarantined


class Verify:
    """The verb ``cache.verify``."""

    def __init__(
        self,
        maintenance: Maintenance,
        desk: OperationDesk,
        cleanup: Cleanup,
        recount: Recount,
        healing: Healing,
        pull: Pull,
    ) -> None:
        self._maintenance, self._desk, self._cleanup = maintenance, desk, cleanup
        self._recount, self._healing, self._pull = recount, healing, pull
        self._volume, self._coordination = maintenance.volume, maintenance.coordination

    def __call__(self, request: VerifyRequest, context: Context) -> VerifyResult:
        """Look, and repair.

        Raises InvalidRequest for a sample of nothing; with ``repair`` Busy while another holds the lease,
        and until the waiting period after a loss of Redis is over.
        """
        if request.sample is not None and not 0 < request.sample <= 100:
            raise InvalidRequest(
                f"{request.sample:g} % is no sample", "argument sample", "give more than 0 and at most 100"
            )
        findings, reader, sample = Findings(), Reader(context), Sample.of(request.sample)
        identity = Identity(self._maintenance, findings)
        look_at_leftovers(
            self._volume,
            self._coordination,
            findings,
            now_ns=self._now_ns(),
            life_s=self._maintenance.leases.operation_s,
        )
        identity.run()  # before a lease is taken, with which COORDINATOR is written anew
        self._maintenance.ensure_ready()
        broken = next(broken_folders(self._volume.layout), None) if request.repair else None
        if broken is not None:
            findings.remark(f"nothing was repaired: {broken.error()}")
        repairs = request.repair and broken is None
        if repairs:
            with self._maintenance.run("verify", check=context.check) as run:
                self._maintenance.refuse_while_waiting(run)
        refs, files = self._look(findings, reader, sample)
        objects, hashed_objects, hashed_bytes = reader.objects, reader.hashed_objects, reader.hashed_bytes
        reader.phase = "counting"
        reader.step()
        size = self._measure(findings)
        withdrawn: set[Ref] = set()
        if repairs:
            reader.phase = "repairing"
            reader.step()
            identity.mend(context.check)
            repair = Repair(
                self._maintenance,
                self._desk,
                self._cleanup,
                self._healing,
                self._pull,
                refs=refs,
                files=files,
                findings=findings,
                context=context,
                look_again=lambda: self._look_for_orphans(context),
            )
            with self._as_far_as_it_goes(findings, "the repair did not come to its end"):
                repair.run()
            withdrawn = repair.withdrawn
            with self._as_far_as_it_goes(findings, "the size was not counted"):
                size = self._recount(ComputeSizeRequest(), context)
                for found in findings.of(kinds.ESTIMATE):
                    found.repaired, found.done = True, "counted anew"
        kept: list[Quarantined] = []
        with self._as_far_as_it_goes(findings, "what is in quarantine cannot be told"):
            kept = Quarantine(self._volume).listing()
        return VerifyResult(
            repair=request.repair,
            sampled_percent=sample.share * 100,
            refs=refs.count,
            objects=objects,
            hashed_objects=hashed_objects,
            hashed_bytes=hashed_bytes,
            used_bytes=size.used_bytes,
            estimate_bytes=size.estimate_bytes,
            findings=findings.messages(),
            counts=findings.counts(),
            repaired=sum(found.repaired for found in findings.all),
            quarantined=tuple(one.path for one in kept),
            quarantined_bytes=sum(one.size_bytes for one in kept),
            withdrawn=tuple(sorted(map(str, withdrawn))),
            remarks=tuple(findings.remarks),
        )

    @contextmanager
    def _as_far_as_it_goes(self, findings: Findings, what: str) -> Iterator[None]:
        """Trouble with what was found to be unreadable, or a link, is told and does not end the run."""
        try:
            yield
        except (VolumeFailed, PermissionDenied, OSError) as trouble:
            if not any(findings.of(kinds.FOLDER, kinds.LINK)):
                raise
            findings.remark(f"{what}: {trouble}")

    def _look(self, findings: Findings, reader: Reader, sample: Sample) -> tuple[RefsLook, FilesLook]:
        now_ns, horizon_ns = self._now_ns(), 0
        with findings.reaching(self._volume.layout.staging):  # else everything is taken for young
            horizon_ns, _oldest = self._maintenance.horizon_at(now_ns)
        refs = RefsLook(
            self._maintenance.refs,
            self._maintenance.closures,
            self._maintenance.objects,
            reader=reader,
            sample=sample,
            horizon_ns=horizon_ns,
            findings=findings,
        )
        refs.run()
        files = FilesLook(
            self._volume, refs, reader=reader, sample=sample, horizon_ns=horizon_ns, findings=findings
        )
        files.run()
        return refs, files

    def _look_for_orphans(self, context: Context) -> Findings:
        findings = Findings()
        self._look(findings, Reader(context), NOTHING)
        return findings

    def _now_ns(self) -> int:
        """The volume's own clock: FORMAT is touched at every start too, and a full disk has room for that."""
        place = self._volume.layout.format
        if not self._volume.touch(place):
            if os.path.isdir(self._volume.layout.objects):
                if not os.path.lexists(self._volume.layout.coordinator):
                    raise gone(self._volume.layout)
                raise LeaseLost("FORMAT is gone", place, "try again: it is written anew")
            raise LeaseLost("the volume is gone", place, "mount it, then try again")
        try:
            return os.lstat(place).st_atime_ns  # of what was touched, also where a link stands there
        except OSError as error:
            raise failure(error, place) from error

    def _measure(self, findings: Findings) -> ComputeSizeResult:
        """Estimate and scan. They are compared only when nobody worked from before one to after the other."""
        before = self._pulse()
        estimate = self._coordination.usage.snapshot()
        scanned = estimate.used_bytes
        with self._as_far_as_it_goes(findings, "the size was not counted"):
            scanned = used_bytes(self._volume)
        after = self._pulse()
        estimate = self._coordination.usage.snapshot()
        if before == after and before is not None and estimate.known and estimate.used_bytes != scanned:
            findings.add(
                kinds.ESTIMATE,
                "Redis",
                f"{estimate.used_bytes} bytes are counted as used, {scanned} are there",
            )
        return ComputeSizeResult(used_bytes=scanned, estimate_bytes=estimate.used_bytes)

    def _pulse(self) -> tuple[int, int] | None:
        """What was ever added and is used now; None: somebody is at work on the volume."""
        if self._coordination.operations.list() or self._coordination.maintenance.holder() is not None:
            return None
        usage = self._coordination.usage.snapshot()
        return usage.added_total_bytes, usage.used_bytes

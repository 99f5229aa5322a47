"""Accounting when things end at the wrong moment (I5): each of these was wrong once."""

import os
import threading
import time
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest
from harness.commands import until
from harness.fleet import Oracle, fleet, quick, write_tree
from harness.volumes import Dead, ended_as_fenced

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    RemoveRequest,
)
from caskeeper.errors import Busy, CoordinatorUnavailable, NoSpace, TooLarge
from worker.closure import Scope
from worker.protocols import quiet
from worker.server import rolling
from worker.server.rolling import Rolling
from worker.store.promises import Promises


def commit(services, folder, files, *refs):
    services.run(CommitRequest(path=write_tree(f"{folder}/src", files), refs=refs), quiet())


def assert_never_understated(services):
    usage = services.coordination.usage.snapshot()
    assert usage.used_bytes + usage.reserved_bytes >= Oracle(services.layout.root).used_bytes()


def stop_renewing(services):
    """As a process does that is stopped by SIGSTOP."""
    services.desk._wake.set()


def test_i5_an_operation_that_ends_while_its_fence_is_half_done_stays_accounted(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, 3, leases=quick(operation_s=0.5)) as (paused, killed, other):
        stop_renewing(paused)
        with (
            ended_as_fenced(),
            paused.desk.writer("pull", "p/e/k", quiet()) as operation,
        ):
            operation.staging.stage(b"y" * 4_000_000)
            time.sleep(0.7)

            def die(verb, *paths):
                if verb in {"unlink", "remove_folder"} and "/e-" in paths[0]:
                    raise Dead(verb, *paths)

            killed.volume._change = die
            with pytest.raises(Dead):
                killed.run(CleanupRequest(), quiet())
            assert_never_understated(other)
        assert_never_understated(other)
        other.run(CleanupRequest(target_bytes=10**12), quiet())
        assert_never_understated(other)
        other.run(ComputeSizeRequest(), quiet())
        assert other.coordination.usage.snapshot().used_bytes == Oracle(other.layout.root).used_bytes()


def test_i5_a_recount_is_refused_until_operations_had_time_to_come_back(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, 2, leases=quick(operation_s=1.0, session_s=1.0)) as (victim, other):
        stop_renewing(victim)
        with victim.desk.writer("pull", "p/e/k", quiet()) as operation:
            operation.reserve(8_000_000)
            valkey.client().flushall()
            other.maintenance.ensure_ready()
            with pytest.raises(Busy, match="come back"):
                other.run(ComputeSizeRequest(), quiet())
            assert not other.coordination.state().known


def test_one_write_that_waits_for_room_does_not_stop_a_small_one_beside_it(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services, services.desk.writer("serve", "x", quiet()) as operation:
        small = []

        def no_room(size_bytes, **_options):
            operation.blobs.add(b"small")  # what another thread of the server does meanwhile
            small.append(True)
            raise Busy("full")

        services.desk.room = SimpleNamespace(make=no_room)
        operation.reserve(1_000_000)
        reservation = operation._reservation
        ask = reservation._ask
        reservation._ask = lambda size_bytes, **more: size_bytes < 100_000 and ask(size_bytes, **more)
        with pytest.raises(Busy, match="full"):
            operation.blobs.add(b"x" * 3_000_000)
        assert small


def test_what_an_upload_announced_and_never_sent_is_left_to_others(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services, services.desk.writer("serve", "x", quiet()) as operation:
        staged = operation.staging.stage_stream(200_000_000)
        assert services.coordination.usage.snapshot().reserved_bytes >= 200_000_000
        staged.discard()
        operation.staging.refund(services.volume.charge(200_000_000))
        operation.settle_part()
        assert services.coordination.usage.snapshot().reserved_bytes < 50_000_000


def test_an_extract_that_is_taken_away_while_it_gains_a_folder_is_made_whole(tmp_path, valkey):
    files = {"top": b"top", "lib/l": b"l", "buildtree/b": b"b"}
    with fleet(tmp_path, valkey.url, 2) as (one, two):
        commit(one, tmp_path, files, "p/a/k", "p/b/k")
        ref = Ref.parse("p/a/k")
        whole = one.listing._refs.read(ref)
        with one.desk.writer("pull", "p/a/k", quiet()) as operation:
            partial = whole._replace(scope=Scope.of(["buildtree"]), serial=5)
            one.extract._naming.publish(operation, [ref], partial)
        path = one.run(ExtractRequest(ref="p/a/k"), quiet()).path
        assert sorted(os.listdir(path)) == ["lib", "top"]
        commit(one, tmp_path, {}, "p/a/k")

        def remove_meanwhile(verb, *paths):
            if verb == "move_folder" and paths[1].startswith(path):
                one.volume._change = lambda *_all: None
                two.run(RemoveRequest(refs=("p/a/k",)), quiet())

        one.volume._change = remove_meanwhile
        again = one.run(ExtractRequest(ref="p/a/k"), quiet()).path
        assert sorted(os.listdir(again)) == ["buildtree", "lib", "top"]


def test_i5_what_a_call_publishes_while_its_server_ends_stays_accounted(tmp_path, valkey, monkeypatch):
    """Its operation ends between the rename and the count: nobody tells of that object."""
    monkeypatch.setattr(rolling, "LEAVE_S", 0.0)
    with fleet(tmp_path, valkey.url) as services:
        server = Rolling(services.desk, Promises(services.volume), subject="here", grace_s=600.0)
        publish = services.volume.publish

        def published(staged, target):
            done = publish(staged, target)
            if target.startswith(services.layout.objects):
                server.close()
            return done

        with server.lent(lambda: None) as operation:
            operation.blobs.add(b"before")
            monkeypatch.setattr(services.volume, "publish", published)
            operation.blobs.add(b"x" * 3_000_000)
        assert_never_understated(services)
        assert services.upkeep_wanted() == ComputeSizeRequest(), "or nobody would ask what counts anew"
        services.run(ComputeSizeRequest(), quiet())
        usage = services.coordination.usage.snapshot()
        assert (usage.used_bytes, usage.reserved_bytes) == (Oracle(services.layout.root).used_bytes(), 0)


def test_a_part_whose_answer_was_lost_before_the_end_counts_once(tmp_path, valkey, monkeypatch):
    with fleet(tmp_path, valkey.url) as services:
        told = services.coordination.operations.settle_part
        losing = [True]

        def lost(*arguments, **options):
            told(*arguments, **options)
            if losing:
                losing.clear()
                raise CoordinatorUnavailable("the answer was lost")

        monkeypatch.setattr(services.coordination.operations, "settle_part", lost)
        with services.desk.writer("serve", "x", quiet()) as operation:
            operation.blobs.add(b"x" * 3_000_000)
            with pytest.raises(CoordinatorUnavailable):
                operation.settle_part()
            operation.blobs.add(b"y" * 1_000_000)
        usage = services.coordination.usage.snapshot()
        assert (usage.used_bytes, usage.reserved_bytes) == (Oracle(services.layout.root).used_bytes(), 0)


def test_after_a_thread_that_could_not_be_started_the_next_operation_is_renewed(
    tmp_path, valkey, monkeypatch
):
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=3.0)) as services:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse_to_start)
            first = services.desk.writer("pull", "p/e/k", quiet())
            with pytest.raises(RuntimeError):
                first.__enter__()
        with services.desk.writer("pull", "p/e/k", quiet()) as operation:
            (one,) = services.coordination.operations.list()
            until(lambda: services.coordination.operations.list()[0].expires_ms > one.expires_ms)
            operation.check()


def refuse_to_start(_thread):
    raise RuntimeError("can't start new thread")


class Torn(BaseException):
    """From outside: a signal's handler raised it, at no moment that anybody chose."""


def test_i5_an_operation_that_is_torn_out_between_a_rename_and_its_count_is_recounted(
    tmp_path, valkey, monkeypatch
):
    with fleet(tmp_path, valkey.url) as services:
        replace = services.volume.replace

        def torn(staged, path):
            replace(staged, path)
            if path == services.layout.ref(Ref("p", "e", "k")):
                raise Torn

        monkeypatch.setattr(services.volume, "replace", torn)
        with pytest.raises(Torn):
            commit(services, tmp_path, {"a": b"x" * 100_000}, "p/e/k")
        assert_never_understated(services)
        wanted = services.upkeep_wanted()
        assert wanted is not None
        services.run(wanted, quiet())
        assert services.upkeep_wanted() is None
        assert services.space.used_bytes() == Oracle(services.layout.root).used_bytes()
        assert services.coordination.usage.snapshot().reserved_bytes == 0


def test_a_part_that_was_told_when_its_operation_was_torn_out_counts_once(tmp_path, valkey, monkeypatch):
    with fleet(tmp_path, valkey.url) as services:
        operations = services.coordination.operations
        tell = operations.settle_part

        def torn(*arguments, **options):
            tell(*arguments, **options)
            monkeypatch.setattr(operations, "settle_part", tell)
            raise Torn

        monkeypatch.setattr(operations, "settle_part", torn)
        with suppress(Torn), services.desk.writer("pull", "x", quiet()) as operation:
            operation.blobs.add(b"x" * 3_000_000)
            operation.settle_part()
        assert operations.settle_part == tell, "it was torn"
        assert services.space.used_bytes() == Oracle(services.layout.root).used_bytes()


def test_a_servers_upload_that_fits_alone_is_not_too_large_for_good(tmp_path, valkey, monkeypatch):
    """What others sent under the same operation is in its way only until that ends."""
    monkeypatch.setattr(rolling, "ROOM_WAIT_S", 0.3)
    with fleet(tmp_path, valkey.url, quota="20M") as services:
        server = Rolling(services.desk, Promises(services.volume), subject="x", grace_s=600.0)
        with closing(server):
            with server.lent(lambda: None) as operation:
                operation.blobs.add(os.urandom(12_000_000))
            server.turn()
            for size, trouble in ((11_000_000, NoSpace), (22_000_000, TooLarge)):
                with pytest.raises(trouble), server.lent(lambda: None) as operation:
                    operation.blobs.add(os.urandom(size))

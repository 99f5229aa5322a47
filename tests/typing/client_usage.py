"""The client as a build types it; checked by mypy --strict, never run."""

from pathlib import Path
from typing import assert_type

from caskeeper import (
    Client,
    ClientStatus,
    Element,
    Job,
    JobRecord,
    Pin,
    Ref,
    Session,
    Settings,
    errors,
    load_settings,
)
from caskeeper.contract import (
    CleanupResult,
    CommitResult,
    ComputeSizeResult,
    ExtractResult,
    ImportResult,
    Keeper,
    LinkResult,
    Message,
    Progress,
    PullResult,
    PushDirectoryResult,
    PushOutcome,
    PushResult,
    RemoveResult,
)

with Client() as cache, cache.session(label="build") as session:
    present = session.require(Element("demo", "hello.bst", strong_key="s", weak_key=None), Ref("p", "e", "k"))
    assert_type(present, tuple[Ref, ...])
    assert_type(session.lost, frozenset[Ref])
    job = cache.pull("demo/hello/key")
    assert_type(job, Job[PullResult])
    for progress in job.follow():
        assert_type(progress, Progress)
    assert_type(job.result(timeout_s=60).pulled, bool)
    assert_type(cache.commit("tree", "demo/hello/key").result(), CommitResult)
    assert_type(cache.push("demo/hello/key").result(), PushResult)
    assert_type(cache.diff("demo/hello/key", "demo/hello/other").result().modified, tuple[str, ...])
    assert_type(cache.import_cache("old", dry_run=True).result(), ImportResult)
    assert_type(cache.pull_tree("demo", "hash/1").result().digest, str | None)
    assert_type(cache.push_directory("demo", None).result(), PushDirectoryResult)
    assert_type(cache.push_message("demo", b"message").result().digest, str)
    assert_type(cache.contains("demo/hello/key"), bool)
    assert_type(cache.status().queues, dict[str, int])
    assert_type(cache.pins(), tuple[Pin, ...])
    assert_type(cache.pull("demo/hello/key", best_effort=True).result().pulled, bool)
    assert_type(cache.push("demo/hello/key", best_effort=True), Job[PushResult])
    assert_type(cache.jobs(limit=10, state="failed", lane="push"), list[JobRecord])
    assert_type(cache.record(job.id), JobRecord | None)
    assert_type(cache.cancel(job.id).word == "ended", bool)
    assert_type(job.withdraw().others, int)
    assert_type(job.cancel().word == "running", bool)
    job_session = cache.detached_session().open(label="job", life_s=3600)
    assert_type(cache.detached_session(job_session.id).require("demo/hello/key"), tuple[Ref, ...])

with Client(load_settings("caskeeper.yaml")) as cache:
    try:
        cache.extract("demo/hello/key", destination="out").result()
    except errors.Transient as again:
        assert_type(again.exit_code, int)


def warn(lost: frozenset[Ref]) -> None:
    raise errors.ArtifactNotFound("lost", ", ".join(map(str, lost)))


def build(settings: Settings, tree: Path) -> int:
    with Client(settings, say=print) as cache:
        session = cache.session(on_lost=warn)
        assert_type(session, Session)
        assert_type(cache.status(), ClientStatus)
        ref = Ref.parse("demo/hello/key")
        assert_type(cache.commit(tree, ref, "demo/hello/other"), Job[CommitResult])
        assert_type(cache.extract(ref, destination=tree / "out"), Job[ExtractResult])
        assert_type(cache.link(ref, "third"), Job[LinkResult])
        assert_type(cache.remove(ref).result(), RemoveResult)
        assert_type(cache.cleanup(dry_run=True).result().groups[0].action, str)
        assert_type(cache.cleanup(target_bytes=0), Job[CleanupResult])
        assert_type(cache.compute_size(), Job[ComputeSizeResult])
        assert_type(cache.explain(ref).result().kept_by, tuple[Keeper, ...])
        assert_type(cache.job("an id"), Job[Message])
        for outcome in cache.push(ref, remotes=["http://localhost:50051"]).result(timeout_s=1.5).remotes:
            assert_type(outcome, PushOutcome)
        try:
            session.require("demo/hello/key")
        except errors.Permanent as error:
            assert_type(error.to_json(), dict[str, object])
            assert_type((error.what, error.where, error.way_out), tuple[str, str, str])
        except errors.CaskeeperError as error:
            return error.exit_code
    return 0

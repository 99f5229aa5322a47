"""The client as a build types it; checked by mypy --strict, never run."""

from typing import assert_type

from caskeeper import Client, Element, Job, Ref, errors, load_settings
from caskeeper.contract import CommitResult, Progress, PullResult, PushResult

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
    assert_type(cache.contains("demo/hello/key"), bool)
    assert_type(cache.status().queues, dict[str, int])

with Client(load_settings("caskeeper.yaml")) as cache:
    try:
        cache.extract("demo/hello/key", destination="out").result()
    except errors.Transient as again:
        assert_type(again.exit_code, int)

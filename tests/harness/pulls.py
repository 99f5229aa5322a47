"""A cache that published one artifact to two remotes in memory, and another one that pulls from them."""

import os
import shutil
from contextlib import contextmanager

from harness.services import fake_services, picture

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, ComputeSizeRequest, ExtractRequest, PullRequest, PushRequest
from worker.protocols import quiet

K1 = "demo/hello/k1"
REF = Ref.parse(K1)
A, B = "http://a", "http://b"
OLD = 1_000_000_000


@contextmanager
def publishing(tmp_path, source):
    """Services that have pushed ``source`` as K1 to A and B."""
    folder = tmp_path / "publisher"
    folder.mkdir()
    made = fake_services(folder, urls=[A, B])
    copy = str(shutil.copytree(source, folder / "copy", symlinks=True))
    made.run(CommitRequest(path=copy, refs=(K1,)), quiet())
    made.run(PushRequest(refs=(K1,)), quiet())
    yield made
    made.close()


@contextmanager
def pulling(tmp_path, publisher):
    """Services of an empty cache with the same remotes."""
    folder = tmp_path / "here"
    folder.mkdir()
    made = fake_services(folder, urls=[A, B])
    made.remotes.remotes = dict(publisher.remotes.remotes)
    yield made
    made.close()


def pull(services, ref=K1, **arguments):
    return services.run(PullRequest(ref=ref, **arguments), quiet())


def extracted(services, **arguments):
    return picture(services.run(ExtractRequest(ref=K1, **arguments), quiet()).path)


def assert_account_is_exact(services):
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == usage.used_bytes
    assert not os.listdir(services.layout.staging)

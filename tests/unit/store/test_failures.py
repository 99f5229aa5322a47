import errno

import pytest

from caskeeper.errors import InvalidRequest, NoSpace, PermissionDenied, VolumeFailed
from worker.store.failures import failure


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.ENAMETOOLONG, InvalidRequest),
        (errno.EIO, VolumeFailed),
        (errno.ENOENT, VolumeFailed),
        (errno.ESTALE, VolumeFailed),
    ],
)
def test_every_number_has_its_class_and_names_the_path(number, kind):
    raised = failure(OSError(number, "x"), "/some/where")
    assert type(raised) is kind
    assert raised.where == "/some/where"


def test_an_error_without_a_number_is_trouble_of_the_volume():
    assert type(failure(OSError("odd"), "/p")) is VolumeFailed

"""What to do about a Redis that answers with an error, or whose certificate nobody vouches for."""

import ssl

from caskeeper.coordination.refusals import way_out_of


def test_a_certificate_that_nobody_vouches_for_is_not_told_to_be_a_redis_that_does_not_run():
    trouble = ConnectionError(
        "Error 1 connecting to redis:6379. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
    )
    assert "ssl_ca_certs" in way_out_of(trouble)
    wrapped = OSError("the queue's library says nothing of it")
    wrapped.__cause__ = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    assert "ssl_ca_certs" in way_out_of(wrapped)


def test_what_nobody_knows_has_no_way_out_of_its_own():
    assert way_out_of(ConnectionError("Connection refused")) == ""

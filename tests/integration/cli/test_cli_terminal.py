"""What others have written into Redis or onto the volume steers nobody's terminal."""

import json
import os
import time

import pytest
from harness.fleet import fleet, quick, write_tree

from caskeeper.contract import CommitRequest
from tasks.cli.main import run
from worker.protocols import quiet

REF = "p/e/1"
EVIL = "\x1b[31mEVIL\r\n\x07"
SHOWN = "\\x1b[31mEVIL\\r\\n\\x07"


@pytest.fixture
def services(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="30M", leases=quick(operation_s=60.0)) as made:
        made.run(CommitRequest(path=write_tree(f"{tmp_path}/src", {"f": b"1"}), refs=(REF,)), quiet())
        yield made


@pytest.fixture
def told(services, tmp_path, valkey, capfd):
    """All that a command prints."""
    config = tmp_path / "caskeeper.yaml"
    config.write_text(
        f"cachedir: {services.layout.root}\nredis: {valkey.celery_url}\nroots: ['{tmp_path}']\n"
        "cache: {quota: 30M, low-watermark: 50%, reserved-disk-space: 0}\n"
    )

    def tell(*words):
        capfd.readouterr()
        run(["--config", str(config), *words])
        return "".join(capfd.readouterr())

    return tell


def evil_operation(services, client, prefix):
    record = {
        **dict.fromkeys(("verb", "subject", "host"), EVIL),
        "started_ms": "1",
        "expires_ms": str(int(time.time() * 1000) + 60_000),
        "reserved_bytes": "1",
        "dying": False,
        "claims": [f"ref:{REF}"],
    }
    client.hset(f"{prefix}operations", EVIL, json.dumps(record))


def evil_session(services, client, prefix):
    services.coordination.sessions.open("s1", label=EVIL)
    services.coordination.sessions.require("s1", ["1"])


def evil_event(services, client, prefix):
    more = json.dumps(dict.fromkeys(("why", "by", "host", "job"), EVIL))
    client.xadd(f"{prefix}events", {"ref": REF, "what": EVIL, "more": more})


def evil_coordinator(services, client, prefix):
    os.unlink(services.layout.coordinator)
    with open(services.layout.coordinator, "w") as file:
        json.dump({"epoch": "other", "redis": EVIL}, file)


@pytest.mark.parametrize(
    ("write", "telling"),
    [
        (evil_operation, {"status", "explain"}),
        (evil_session, {"status", "explain"}),
        (evil_event, {"explain"}),
        (evil_coordinator, {"status", "explain"}),
    ],
)
def test_control_characters_of_a_record_are_shown_as_escapes(services, told, valkey, write, telling):
    with valkey.client() as client:
        write(services, client, f"caskeeper:{{{services.coordination.volume_id}}}:")
    found = {words[0]: told(*words) for words in (("status",), ("explain", REF), ("doctor",), ("list",))}
    assert [said for said in found.values() if set(said) & set("\x1b\r\x07")] == []
    assert {verb for verb, said in found.items() if SHOWN in said} >= telling


def test_a_program_is_told_what_the_record_says(services, told, valkey):
    evil_session(services, None, "")
    assert [one["label"] for one in json.loads(told("--json", "status"))["sessions"]] == [EVIL]

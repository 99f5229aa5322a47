"""What every test shares."""

import os
import signal

import pytest

pytest_plugins = ["harness.valkey"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A skipped test in CI is a failure: it would hide a service that did not start."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_configure(config):
    """Commands started by tests must hear Ctrl-C: what ran in the background of a shell inherits it ignored.

    A handler of ours becomes the default again in every child, an ignored signal stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)


def pytest_report_header(config):
    """What this machine cannot show is said at the top: then something stands in for full disks."""
    from harness.scene import can_mount

    return "small file systems: " + ("mounted for tests" if can_mount() else "cannot be mounted here")

"""The console script: `caskeeper`, or `python -P -m tasks.cli.main`."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import click

from tasks.cli import output
from tasks.cli.failures import INTERRUPTED, report
from tasks.cli.interrupt import CtrlC
from tasks.cli.invocation import Invocation
from tasks.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECTIONS = {
    "Artifacts (REF is PROJECT/ELEMENT/KEY)": {
        "commit": ("transfer", "Import a folder and bind refs to it."),
        "push": ("transfer", "Offer artifacts to the push remotes of their project."),
        "pull": ("transfer", "Bring artifacts here from the first remote that has them."),
        "pull-tree": ("trees", "Bring what a Tree blob names here, without a ref."),
        "push-directory": ("trees", "Send a directory without a ref to the push remotes."),
        "push-message": ("trees", "Send one blob to the push remotes."),
        "extract": ("local", "Check out, and print the path."),
        "link": ("local", "Bind another key of the element to an artifact."),
        "diff": ("compare", "What changed between two artifacts."),
        "remove": ("local", "Forget refs and free what nothing else needs."),
        "import": ("takeover", "Take over the artifacts of a BuildStream 1.x cache folder."),
        "hold": ("hold", "Run a command while artifacts are protected."),
        "session": ("session", "Protect artifacts across the steps of a CI job."),
        "pin": ("pins", "Protect artifacts until they are unpinned."),
        "unpin": ("pins", "End the protection of a pin."),
    },
    "Looking": {
        "contains": ("look", "Whether artifacts are here: exit 0 or 11."),
        "list": ("look", "The refs that are here."),
        "show": ("look", "Everything known of one ref."),
        "explain": ("explain", "Why an artifact is kept, or why and when it went."),
        "files": ("browse", "What is in an artifact."),
        "cat": ("browse", "The bytes of one file of an artifact."),
        "du": ("browse", "What artifacts take: logical, unique, physical."),
        "pins": ("pins", "The pins, one a line."),
        "remotes": ("remotes", "Ask every configured remote how it is."),
        "status": ("status", "Sizes, sessions, workers and queues."),
        "stats": ("stats", "Hits, misses, errors and bytes of all workers."),
        "jobs": ("jobs", "What is queued, running, done and failed."),
        "job": ("job", "Everything about one job; --follow waits for it."),
        "cancel": ("cancel", "End jobs, whoever waits for them."),
    },
    "Upkeep": {
        "cleanup": ("upkeep", "Evict what was not used for longest."),
        "compute-size": ("upkeep", "Recount the volume."),
        "doctor": ("doctor", "What is not fit for work, and what to do about it."),
        "verify": ("verify", "Look for damage, leftovers and drift; --repair mends."),
    },
    "Long-running parts": {
        "up": ("machine", "Everything on one machine until Ctrl-C, with an embedded Redis."),
        "down": ("machine", "End the embedded server of this cachedir."),
        "worker": ("running", "Serve the queue."),
        "server": ("running", "Serve the volume over gRPC."),
        "beat": ("running", "Queue the periodic upkeep."),
        "flower": ("running", "The window on the queue, in a browser."),
        "demo": ("demo", "A real tree through every verb, in a temporary folder."),
    },
    "": {"supervise": ("machine", "What stands behind the embedded server.")},
}


def _show_version(context: click.Context, _parameter: click.Parameter, value: object) -> None:
    if value and not context.resilient_parsing:
        from importlib.metadata import version

        print(f"caskeeper {version('caskeeper')}")
        context.exit()


@click.group(
    cls=LazyGroup,
    sections=_SECTIONS,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version and end.",
        )
    ],
)
def cli() -> None:
    """One shared, content-addressed cache of build artifacts, kept by any number of workers.

    Exit: 0 done, 1 a bug, 2 usage, 3 done with remarks, 10-19 the same request fails the same way,
    20-29 it may succeed later, 130 interrupted.
    """


def run(arguments: Sequence[str]) -> int:
    """One call; its exit code. Never raises."""
    invocation = Invocation()
    try:
        with invocation:
            code = cli.main(list(arguments), prog_name="caskeeper", standalone_mode=False, obj=invocation)
            sys.stdout.flush()
    except BaseException as trouble:  # noqa: BLE001 -- the last door: everything becomes a sentence and a code
        if isinstance(trouble, click.ClickException) and _asks_for_json(arguments):
            invocation.json = True  # it stands behind the mistake, where nobody has read it
        return report(trouble, invocation)
    return code if isinstance(code, int) else 0


def _asks_for_json(arguments: Sequence[str]) -> bool:
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours


def main() -> None:
    """The console script."""
    ctrl_c = CtrlC()
    code = INTERRUPTED
    try:
        output.prepare()
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED  # while the outcome was told
    except BrokenPipeError:
        output.discard()
    ctrl_c.over(code)
    gc.freeze()  # the interpreter would look through everything once more before it gives it all back
    sys.exit(code)


if __name__ == "__main__":
    main()

"""Commands that are imported when they are used, and the global options that stand before or after them."""

from __future__ import annotations

import signal
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from tasks.cli.failures import Ended
from tasks.cli.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


#: What every command's own help says of the options that it does not list.
ALSO = "Also, with every command: --config FILE, --json, --quiet, --no-progress, --verbose."


def _remember(name: str, *, as_value: object = None) -> Any:
    """A callback that notes a given option, wherever it stands; one not given changes nothing."""

    def callback(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        if value:
            setattr(context.ensure_object(Invocation), name, value if as_value is None else as_value)

    return callback


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """--config, --json, --quiet, --no-progress, --verbose. Shown once, accepted everywhere."""
    shared: dict[str, Any] = {"expose_value": False, "hidden": hidden}
    flag: dict[str, Any] = {**shared, "is_flag": True}
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            callback=_remember("config"),
            help="Configuration file; else $CASKEEPER_CONFIG, else the user's configuration folder.",
            **shared,
        ),
        click.Option(
            ["--json"],
            callback=_remember("json"),
            help="One JSON document on stdout, errors too; streams as JSON lines.",
            **flag,
        ),
        click.Option(["--quiet", "-q"], callback=_remember("quiet"), help="Only data and errors.", **flag),
        click.Option(
            ["--no-progress"],
            callback=_remember("progress", as_value=False),
            help="No bars, no progress lines.",
            **flag,
        ),
        click.Option(
            ["--verbose", "-v"],
            callback=_remember("verbose"),
            help="More log; the traceback of a bug.",
            **flag,
        ),
    ]


class Command(click.Command):
    """A command that also takes the global options."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += global_options(hidden=True)
        self.epilog = self.epilog or ALSO


def command(name: str, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Decorator: a command by its name on the command line."""
    return click.command(name, cls=Command, **options)


class LazyGroup(click.Group):
    """The root: it knows where each command lives and what it does, and imports only the one called."""

    def __init__(
        self, *arguments: Any, sections: Mapping[str, Mapping[str, tuple[str, str]]], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.params += global_options(hidden=False)
        self._sections = sections
        self._modules = {
            name: module for commands in sections.values() for name, (module, _help) in commands.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        members = vars(import_module(f"tasks.cli.{module}")).values()
        return next(one for one in members if isinstance(one, click.Command) and one.name == cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown name is told with those it may have been meant for."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as wrong:
            from difflib import get_close_matches

            shown = [name for title, commands in self._sections.items() if title for name in commands]
            near = get_close_matches(args[0], shown, n=3, cutoff=0.6)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise click.UsageError(f"{wrong.message}{hint}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Ctrl-C gets past click, which would write an empty line for it, terminal or not."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Ended(signal.SIGINT) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any of them."""
        for title, commands in self._sections.items():
            if title:
                with formatter.section(title):
                    formatter.write_dl([(name, text) for name, (_module, text) in commands.items()])

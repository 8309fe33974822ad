"""The command line. Each command lives in `loadgen.commands` and imports what it needs when it runs."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from loadgen.commands import check_config, demo, devices, explain, loadtest, policies, serve, simulate, trace, worker
from loadgen.commands.say import complain
from loadgen.finding import Finding, mistakes
from loadgen.guard import shadowed

app = typer.Typer(
    name="tokenyard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Routes LLM requests over a mixed fleet of accelerators: every (prefill, decode) pair is priced in seconds "
    "and US dollars, and the cheapest one that keeps the latency promise gets the request.",
    epilog="Start here: [bold]tokenyard demo[/bold]. Every command has --help with examples.",
)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
app.command("worker", epilog=worker.EXAMPLES)(worker.worker)
app.command("loadtest", epilog=loadtest.EXAMPLES)(loadtest.loadtest)
app.command("simulate", epilog=simulate.EXAMPLES)(simulate.simulate)
app.command("policies", epilog=policies.EXAMPLES)(policies.policies)
app.command("check-config", epilog=check_config.EXAMPLES)(check_config.check_config)
app.command("explain", epilog=explain.EXAMPLES)(explain.explain)
app.add_typer(devices.app, name="devices")
app.add_typer(trace.app, name="trace")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tokenyard {version('tokenyard')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """See the help text of `app`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit 0: all well; 1: a finding; 2: the command was used wrongly."""
    _reopen()
    if problem := shadowed():
        complain(problem)
        sys.exit(2)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except OSError as error:  # what writes files tells of them itself; this is stdout, its disk full or its reader gone
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its flush at exit would fail again
        if error.errno != errno.EPIPE:
            complain(f"{error.filename or 'stdout'}: {error.strerror or error}")
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int | str | None:
    """The exit code; complaints are told."""
    try:
        app(arguments)
    except SystemExit as ended:
        return ended.code
    except Finding as finding:
        complain(str(finding))
        return 1
    except Exception as error:
        if not isinstance(error, mistakes()):
            raise
        complain(str(error))
        return 2
    return 0


def _reopen() -> None:
    """Where a parent has closed them, stdout and stderr go nowhere, as they were meant to."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    main()

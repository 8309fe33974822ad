"""`tokenyard explain`: why a request went where it went."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.commands.options import AsJson

EXAMPLES = "Example: tokenyard explain 4f1c... --url http://127.0.0.1:8081"


def explain(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="From the header x-request-id.")],
    url: Annotated[str, typer.Option("--url", help="The operator listener.")] = "http://127.0.0.1:8081",
    token: Annotated[
        str, typer.Option("--token", envvar="TOKENYARD_OPERATOR_TOKEN", help="The operator token, if it has one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """What was predicted for a request beside what happened to it."""
    from loadgen.commands import say
    from loadgen.decision import fetched, told

    found = fetched(url, request_id, token)
    if as_json:
        say.answer_json(found)
    else:
        typer.echo(told(found))

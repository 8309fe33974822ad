"""`tokenyard policies`: what can stand under `policy:` in a fleet file."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from loadgen.commands.options import AsJson

EXAMPLES = "Example: tokenyard policies --json"


def policies(as_json: AsJson = False) -> None:
    """The policies by name, with their options. Your own is named as your_module:YourPolicy."""
    from loadgen.commands import say
    from policies.table import POLICIES

    listed = [
        {
            "name": name,
            "summary": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
            "options": {field.name: field.default for field in fields(kind)} if is_dataclass(kind) else {},
        }
        for name, kind in POLICIES.items()
    ]
    if as_json:
        say.answer_json(listed)
        return
    rows = [
        (entry["name"], entry["summary"], ", ".join(f"{option}={default}" for option, default in options.items()))
        for entry in listed
        if isinstance(options := entry["options"], dict)
    ]
    say.table(("policy", "what it does", "options"), rows)

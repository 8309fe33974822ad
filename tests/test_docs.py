"""What the documents show is true: commands parse, files exist, fleet files are sound, links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from devices.catalog import device_ids, model_ids
from loadgen.cli import app
from policies.table import POLICIES
from router.config import load

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
YOURS = {"fleet.yaml", "yours.yaml", "trace.csv.gz", "my_trace.csv.gz", "report.json", "..."}
"""Files of the reader's own in examples."""
READ = ("config", "trace", "file", "faults")
"""Parameters that name a file to be read."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        lines = iter(enumerate(page.read_text().splitlines(), start=1))
        for number, line in lines:
            if fence := re.match(r"\s*```(\w*)", line):
                inside = []
                for _, inner in lines:
                    if inner.strip() == "```":
                        break
                    inside.append(inner)
                yield Block(str(page.relative_to(ROOT)), number, fence[1], "\n".join(inside))


def commands(text: str, prompted: bool) -> Iterator[list[str]]:
    """Command lines of a transcript (only what follows `$ `) or of a script, continued lines joined, pipes cut off."""
    lines = iter(text.splitlines())
    for line in lines:
        if prompted and not line.startswith("$ "):
            continue
        whole = line.removeprefix("$ ")
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines, "")
        lexer = shlex.shlex(whole, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        yield from _cut(list(lexer))


def _cut(words: list[str]) -> Iterator[list[str]]:
    """The commands between operators, without assignments in front of them."""
    command: list[str] = []
    for word in [*words, ";"]:
        if word and set(word) <= set("|&;<>"):
            while command and re.match(r"\w+=", command[0]):
                command.pop(0)
            if command:
                yield command
            command = []
        else:
            command.append(word)


def shown() -> list[tuple[str, list[str]]]:
    """Every command of every page, of the comments in deployed files, and of each --help, with where it stands."""
    found = [
        (str(block), command)
        for block in blocks()
        if block.language in ("console", "bash", "sh")
        for command in commands(block.text, block.language == "console")
    ]
    for file in [*ROOT.glob("deploy/**/*.yaml"), *ROOT.glob("deploy/**/*.yml"), *ROOT.glob("loadgen/data/*.yaml")]:
        for comment in re.findall(r"^#\s+(tokenyard \w.*)$", file.read_text(), re.MULTILINE):
            found += [(file.name, command) for command in commands(comment, False)]
        for quoted in re.findall(r"`(tokenyard \w[^`]*)`", file.read_text()):
            found += [(file.name, command) for command in commands(quoted, False)]
    for path, command in leaves(typer.main.get_command(app), "tokenyard"):
        for example in re.findall(r"(tokenyard .*)", command.epilog or ""):
            found += [(f"{path} --help", words) for words in commands(example, False)]
    return found


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
    for name, inner in (subcommands or {}).items():
        yield from leaves(inner, f"{path} {name}")


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the real command line makes of the arguments; raises its usage error. Runs nothing."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("tokenyard", list(arguments))
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


SHOWN = shown()
OURS = [(place, words[1:]) for place, words in SHOWN if Path(words[0]).name == "tokenyard"]


def test_the_documents_show_commands() -> None:
    """Or all tests below would pass for want of anything to look at."""
    assert len([place for place, _ in OURS if place.startswith("README.md")]) >= 4
    assert len(OURS) >= 15


@pytest.mark.parametrize(("place", "arguments"), OURS, ids=[f"{place}: {' '.join(words)}" for place, words in OURS])
def test_a_shown_command_is_one_the_command_line_takes(place: str, arguments: list[str]) -> None:
    values = parsed(arguments)
    for name in READ:
        if isinstance(values.get(name), Path) and str(values[name]) not in YOURS:
            assert (ROOT / values[name]).is_file(), f"{place} shows {values[name]}"
    if values.get("device"):
        assert values["device"] in device_ids()
        assert values["model"] in model_ids()
    if "device_id" in values:
        assert values["device_id"] in device_ids()
    assert set((values.get("policy") or "cost-slo").split(",")) <= POLICIES.keys()


def test_a_command_with_an_option_that_is_none_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["simulate", "--config", "x", "--polcy", "random"])


def test_pipes_continued_lines_comments_and_assignments_are_read_as_a_shell_would() -> None:
    text = "$ A=1 tokenyard simulate \\\n    -c x  # why\nno command\n$ tokenyard policies --json | jq . > out\n"
    assert list(commands(text, True)) == [
        ["tokenyard", "simulate", "-c", "x"],
        ["tokenyard", "policies", "--json"],
        ["jq", "."],
        ["out"],
    ]


def test_the_readme_shows_the_two_commands_first() -> None:
    first = next(block for block in blocks() if block.page == "README.md")
    assert [words[:2] for words in commands(first.text, True)] == [["make", "run"], ["make", "test"]]


def test_every_make_target_shown_exists() -> None:
    pages = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"`make ([a-z-]+)", pages)) | {words[1] for _, words in SHOWN if words[0] == "make"}
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {"run", "test"} <= named <= targets


YAML_BLOCKS = [block for block in blocks() if block.language in ("yaml", "yml")]


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=str)
def test_a_shown_yaml_block_loads_and_a_fleet_file_is_sound(block: Block, tmp_path: Path) -> None:
    shown = yaml.safe_load(block.text)
    assert shown is not None
    if isinstance(shown, dict) and {"models", "pools"} <= shown.keys():
        (tmp_path / "fleet.yaml").write_text(block.text)
        load(tmp_path / "fleet.yaml")


def test_the_readme_shows_the_shortest_fleet_file_as_it_is() -> None:
    minimal = (ROOT / "deploy" / "examples" / "minimal.yaml").read_text().strip()
    assert minimal in [block.text.strip() for block in YAML_BLOCKS if block.page == "README.md"]


def test_nothing_is_left_to_be_filled_in() -> None:
    for page in PAGES:
        assert not re.search(r"@@|TODO|TBD|FIXME", page.read_text()), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target
    folders = "devices|policies|router|loadgen|bench|tests|docs|deploy|seeds"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*\w/?)`", text):
        assert (ROOT / path).exists(), path

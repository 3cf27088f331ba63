"""What the pages name is there: commands, options, settings, links, and every page in the index."""

import re
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from engagement_stream.cli.commands_table import commands
from engagement_stream.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / "reference" / name for name in ("cli.md", "crash-points.md", "mutants.md")}
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "config").glob("*.md"), *DOCS.rglob("*.md")])
COMMANDS = {name: {o for p in command.params for o in (*p.opts, *p.secondary_opts)} for name, command in commands()}

BAR = "\uff5c"  # between verbs, as a plain one would end the cell of a table
_FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*((?:engagement|python -m src\.\w+) .*)")


def snippets(text: str) -> list[str]:
    """Lines of fenced blocks and what stands in backticks, without the comments behind them."""
    blocks = [body for _, body in _FENCE.findall(text)]
    inline = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    return [line.split(" #")[0].strip() for line in [*(line for body in blocks for line in body.splitlines()), *inline]]


def named_commands(text: str) -> list[tuple[str, set[str]]]:
    """(command, options) of every line that calls one; verbs with a bar between them are each one."""
    found = []
    for snippet in snippets(text):
        if match := _COMMAND.match(snippet):
            line = match[1]
            verbs = re.search(rf"\S+(?:{BAR}\S+)+", line)
            for verb in verbs[0].split(BAR) if verbs else [""]:
                one = line.replace(verbs[0], verb) if verbs else line
                found.append((one, set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", one))))
    return found


def command_of(line: str) -> str | None:
    """The longest beginning that is a command, or a group of them that no other word follows."""
    words = line.split()
    for length in range(len(words), 1, -1):
        name = " ".join(words[:length])
        is_last = length == len(words) or not words[length].isalpha()
        if name in COMMANDS or (is_last and any(command.startswith(f"{name} ") for command in COMMANDS)):
            return name
    return None


def slug(heading: str) -> str:
    """The anchor that GitHub makes of it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def ini_blocks() -> list[tuple[str, str]]:
    """Settings as the pages advise them: page and block."""
    pages = sorted((DOCS / "how-to").glob("*.md"))
    return [(page.stem, body) for page in pages for kind, body in _FENCE.findall(page.read_text()) if kind == "ini"]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    """In examples and in running text, in both languages."""
    for line, options in named_commands(page.read_text()):
        name = command_of(line)
        assert name is not None, line
        known = COMMANDS.get(name, set()) | {"--help"}
        assert options <= known, line


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    """And so would an option of another command."""
    assert named_commands(f"`engagement bench latency{BAR}copy --rate 1`")[1] == (
        "engagement bench copy --rate 1",
        {"--rate"},
    )
    assert command_of("engagement nothing") is None
    assert command_of("engagement dlq nothing") is None
    assert command_of("engagement rebuild redis --dry-run") == "engagement rebuild redis"
    assert "--rate" not in COMMANDS["engagement bench copy"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading that it has."""
    for link in re.findall(r"(?<!!)\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_place_of_one_machine(page: Path) -> None:
    """Neither somebody's folder nor a drive."""
    assert not re.findall(r"(?<![\w.~-])/(?:work|root|home|tmp|Users|mnt)/\S*|\b[A-Z]:\\\\", page.read_text())


def test_the_index_leads_to_every_page() -> None:
    """Decisions and raw figures are reached by their folders."""
    links = set(re.findall(r"\]\(([^)]+)\)", (DOCS / "README.md").read_text()))
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*") if path.suffix in {".md", ".json"}}
    assert {page for page in pages if not page.startswith(("decisions/", "benchmarks/"))} - links == {"README.md"}


@pytest.mark.parametrize(("page", "block"), ini_blocks(), ids=[page for page, _ in ini_blocks()])
def test_the_settings_of_a_how_to_are_settings(page: str, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable exists and takes its value; Kafka's client takes the whole."""
    known = {str(field.validation_alias) for room in Settings.ROOMS for field in room.model_fields.values()}
    for line in block.splitlines():
        name, value = line.split("=", 1)
        assert name in known
        monkeypatch.setenv(name, value)
    AdminClient({**Settings.load().kafka.client_config()})  # an unknown mechanism or protocol raises


def test_a_term_of_the_glossary_stands_once_and_is_told_in_both_languages() -> None:
    """In alphabetical order, a sentence each."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in (DOCS / "glossary.md").read_text().splitlines()
    ]
    terms = [row for row in rows if len(row) == 4][2:]
    assert len(terms) > 30
    names = [row[0].casefold() for row in terms]
    assert names == sorted(set(names))
    assert len({row[2] for row in terms}) == len(terms)
    for _, english, term, arabic in terms:
        assert english.endswith(".")
        assert arabic.endswith(".")
        assert re.search(r"[\u0600-\u06ff]", term)
        assert re.search(r"[\u0600-\u06ff]", arabic)

"""`engagement dlq list | show | replay | discard`: what could not be delivered, why, and what becomes of it."""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engagement_stream.cli.options import DEFAULT_DATA_DIR, DataDir, load_settings
from engagement_stream.errors import ConfigurationError

if TYPE_CHECKING:
    from engagement_stream.dlq.handling import Outcome, Tell
    from engagement_stream.dlq.letter import Filter, Letter
    from engagement_stream.dlq.queue import Queue
    from engagement_stream.settings import Settings

_BY = "command line"
_PLAIN_EVERY_S = 2.0
_console = Console(highlight=False)
app = typer.Typer(
    help="Events that could not be delivered: see them, send them back, discard them.", no_args_is_help=True
)

Stage = Annotated[str | None, typer.Option(help="Only of this stage: capture, enrich, redis, bigquery or http.")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason, as the list shows it.")]
Since = Annotated[str | None, typer.Option(help="Only letters from then on, ISO 8601 (UTC by default).")]
Until = Annotated[str | None, typer.Option(help="Only letters before then, ISO 8601.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids as the list shows them.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
Everything = Annotated[bool, typer.Option("--all", help="Every open letter.")]


@app.command("list")
def list_letters(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    stage: Stage = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[str, typer.Option(help="open, replayed, discarded or all.")] = "open",
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=10_000)] = 50,
    before: Annotated[str | None, typer.Option(help="Go on behind this page: the cursor that it ended with.")] = None,
    as_json: Json = False,
) -> None:
    """The letters, newest first, and how many there are by stage and reason. Payloads are shown by `show` only."""
    wanted = _filter(stage, reason, since, until, state)
    with _queue(load_settings(data_dir)) as queue:
        from engagement_stream.dlq.letter import decode_cursor, encode_cursor

        letters = queue.page(wanted, before=decode_cursor(before) if before else None, limit=limit)
        total = queue.index.count(wanted)
        counts = queue.summary().counts
    cursor = encode_cursor(letters[-1]) if len(letters) == limit else None
    if as_json:
        shown = [_as_dict(letter) for letter in letters]
        print(msgspec.json.encode({"total": total, "letters": shown, "next": cursor}).decode())
        return
    table = Table("id", "came", "reason", "bytes", "again", "state", box=None, padding=(0, 1))
    for letter in letters:
        came = letter.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(letter.name, came, letter.reason, f"{letter.size:,}", str(letter.again or ""), letter.state)
    if letters:
        _console.print(table)
    for (of_stage, why, of_state), count in sorted(counts.items()):
        if of_state == wanted.state or wanted.state is None:
            _console.print(f"{of_stage}: {why}: {count:,} {of_state}", markup=False)
    _console.print(f"{len(letters):,} of {total:,} letters" + (f"; more: --before {cursor}" if cursor else ""))


@app.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
) -> None:
    """One letter whole, its payload too (which may be personal data), and whether it can be replayed."""
    from engagement_stream.dlq.letter import name_of
    from engagement_stream.dlq.showing import read_content

    with _queue(load_settings(data_dir)) as queue:
        letter = queue.find(name_of(letter_id))
        if letter is None:
            raise ConfigurationError(f"there is no dead letter {letter_id!r}: `engagement dlq list` shows their ids")
        content = read_content(queue, letter)
    if as_json:
        payload = base64.b64encode(content.value).decode()
        print(msgspec.json.encode({**_as_dict(letter), "detail": content.detail, "payload_base64": payload}).decode())
        return
    rows = {
        "id": letter.name,
        "came": letter.at.isoformat(),
        "state": letter.state + (f" {letter.handled_at} by {letter.by}" if letter.handled_at else ""),
        "reason": letter.reason,
        "detail": content.detail,
        "failed first at": letter.origin,
        "failed again": f"{letter.again} times" if letter.again else "no",
        "replay": content.not_replayable or "possible",
    }
    for name, text in rows.items():
        _console.print(f"{name:<16}{text}", markup=False, soft_wrap=True)
    _console.print(content.value.decode(errors="backslashreplace"), markup=False, soft_wrap=True)


@app.command("replay")
def replay(
    ids: Ids = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    everything: Everything = False,
    stage: Stage = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Send open letters back to the stage they failed at, and only there; mend the cause first.

    Exit code 1 when a letter could not be sent back. One that fails again comes back as a new letter.
    """
    from engagement_stream.dlq.handling import Handling

    wanted = _chosen(ids, _filter(stage, reason, since, until, "open"), everything=everything)
    settings = load_settings(data_dir)
    with _queue(settings) as queue, _progress() as tell:
        outcome = Handling(settings.kafka, queue).replay(wanted, _BY, tell=tell)
    _tell(outcome, "replayed", as_json=as_json)


@app.command("discard")
def discard(
    ids: Ids = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    everything: Everything = False,
    stage: Stage = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Give letters up: their events are never delivered there. They stay readable, and counted by `verify`."""
    from engagement_stream.dlq.handling import Handling

    wanted = _chosen(ids, _filter(stage, reason, since, until, "open"), everything=everything)
    settings = load_settings(data_dir)
    with _queue(settings) as queue:
        if not yes and not isinstance(wanted, list):
            _confirm(queue.index.count(wanted), str(wanted))
        with _progress() as tell:
            outcome = Handling(settings.kafka, queue).discard(wanted, _BY, tell=tell)
    _tell(outcome, "discarded", as_json=as_json)


def _confirm(count: int, which: str) -> None:
    if not _console.is_terminal:
        raise ConfigurationError(f"discarding {count:,} letters ({which}) has to be confirmed: add --yes")
    typer.confirm(f"Discard {count:,} letters ({which})? Their events are never delivered there", abort=True)


def _filter(stage: str | None, reason: str | None, since: str | None, until: str | None, state: str) -> "Filter":
    from engagement_stream.dlq.letter import STATES, Filter

    known = next((known for known in STATES if known == state), None)
    if known is None and state != "all":
        raise ConfigurationError(f"--state {state!r} is none of {', '.join(STATES)}, all")
    return Filter(stage, reason, _moment("--since", since), _moment("--until", until), known)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {text!r} is not ISO 8601, such as 2025-08-01T12:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _chosen(ids: list[str] | None, wanted: "Filter", *, everything: bool) -> "list[str] | Filter":
    from engagement_stream.dlq.letter import Filter, name_of

    narrowed = wanted != Filter()
    if bool(ids) + (narrowed or everything) != 1 or (narrowed and everything):
        raise ConfigurationError("say which letters: ids, or --stage, --reason, --since, --until, or --all")
    return [name_of(text) for text in ids] if ids else wanted


@contextmanager
def _queue(settings: "Settings") -> Iterator["Queue"]:
    from engagement_stream.broker.topics import ensure_topics
    from engagement_stream.dlq.queue import Queue

    ensure_topics(settings.kafka)
    queue = Queue(settings.kafka)
    try:
        with _console.status("reading the queue ..."):
            queue.follow()
        yield queue
    finally:
        queue.close()


@contextmanager
def _progress() -> Iterator["Tell"]:
    """A bar on a terminal; elsewhere a line now and then, and only when it takes long."""
    if not _console.is_terminal:
        yield _plain()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console, transient=True) as bars:
        task = bars.add_task("letters", total=None)
        yield lambda seen, total: bars.update(task, completed=seen, total=total)


def _plain() -> Callable[[int, int], None]:
    told_s = time.monotonic()

    def tell(seen: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _PLAIN_EVERY_S:
            told_s = time.monotonic()
            typer.echo(f"{seen:,} of {total:,}", err=True)

    return tell


def _tell(outcome: "Outcome", action: str, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"action": action, **_outcome_dict(outcome)}).decode())
    else:
        _console.print(f"{outcome.done:,} {action}")
        if outcome.handled_before:
            _console.print(f"{outcome.handled_before:,} were handled before, nothing was done again")
        for why, count in outcome.refused.items():
            _console.print(f"{count:,} left open: {why}", markup=False, soft_wrap=True)
        for name in outcome.unknown:
            _console.print(f"there is no dead letter {name}", markup=False, soft_wrap=True)
    raise typer.Exit(1 if outcome.refused or outcome.unknown else 0)


def _outcome_dict(outcome: "Outcome") -> dict[str, Any]:
    return {
        "done": outcome.done,
        "handled_before": outcome.handled_before,
        "refused": outcome.refused,
        "unknown": outcome.unknown,
    }


def _as_dict(letter: "Letter") -> dict[str, Any]:
    return {
        "id": letter.name,
        "url_id": letter.url_id,
        "stage": letter.stage,
        "reason": letter.reason,
        "at": letter.at,
        "size": letter.size,
        "again": letter.again,
        "origin": letter.origin,
        "state": letter.state,
        "handled_at": letter.handled_at,
        "by": letter.by,
    }

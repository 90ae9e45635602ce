"""`posturegate tasks`: what has to be fixed on which device, until when, and who looks after it."""

import argparse
from typing import Any

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

DEFAULT_MOST = 50
NOT_FOUND, INVALID = 404, 422
STATES = ("open", "in-progress", "verifying", "resolved")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `tasks`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list tasks, newest first")
    listing.add_argument("--state", choices=STATES, default="", help="only those in this state")
    listing.add_argument("--device", default="", metavar="TEXT", help="only those of a device, by id or name")
    listing.add_argument("--assignee", default="", metavar="WHO", help="only those of this person")
    listing.add_argument("--overdue", action="store_true", help="only those whose time is over")
    listing.add_argument("--most", type=int, default=DEFAULT_MOST, help=f"how many ({DEFAULT_MOST})")
    show = actions.add_parser("show", help="show one task, its notes, and who was told of it")
    show.add_argument("id")
    assign = actions.add_parser("assign", help='say who looks after a task ("" for nobody)')
    assign.add_argument("id")
    assign.add_argument("who")
    note = actions.add_parser("note", help="write a note")
    note.add_argument("id")
    note.add_argument("text")
    ticket = actions.add_parser("ticket", help='set the reference in another system ("" for none)')
    ticket.add_argument("id")
    ticket.add_argument("reference")
    begin = actions.add_parser("begin", help="say that somebody works on it")
    begin.add_argument("id")
    done = actions.add_parser("done", help="say that it should be fixed; the sensors' evidence resolves it")
    done.add_argument("id")
    actions.add_parser("retry", help="tell the targets again what they did not take")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print the records as JSON, one a line")
        add_config_argument(action)


def run(arguments: argparse.Namespace) -> int:
    """Read or change tasks. Returns 1 when there is no such task, store or gateway, 2 when something is invalid."""
    from gateway.cli.check import load_or_print  # noqa: PLC0415 - lazy: `--help` must not pay for it

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    match arguments.action:
        case "list":
            return _list(arguments, loaded.config.store.url)
        case "show":
            return _show(arguments, loaded.config.store.url)
        case "retry":
            return _post(arguments, loaded.config.server.run_dir, "/tasks-retry", {})
        case _:
            path = f"/tasks/{arguments.id}"
            return _post(arguments, loaded.config.server.run_dir, path, _change(arguments))


def _change(arguments: argparse.Namespace) -> dict[str, object]:
    match arguments.action:
        case "assign":
            return {"assignee": arguments.who}
        case "note":
            return {"note": arguments.text}
        case "ticket":
            return {"ticket": arguments.reference}
        case "begin":
            return {"begin": True}
        case _:
            return {"done": True}


def _list(arguments: argparse.Namespace, store_url: str) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415

    from gateway.remediation.task_store import TaskQuery, read_tasks  # noqa: PLC0415

    now = datetime.now(UTC)
    query = TaskQuery(
        state=arguments.state,
        device=arguments.device,
        assignee=arguments.assignee,
        only_overdue=arguments.overdue,
        most=max(0, arguments.most),
    )
    tasks = _read(store_url, arguments.config, lambda path: read_tasks(path, query, now))
    if tasks is None:
        return EXIT_FAILED
    for task in tasks:
        print(_as_json(task) if arguments.json else _line(task, now))
    if not tasks and not arguments.json:
        print("no task")
    return EXIT_OK


def _show(arguments: argparse.Namespace, store_url: str) -> int:
    import sys  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from gateway.remediation.task_store import TaskQuery, read_letters, read_tasks  # noqa: PLC0415

    now = datetime.now(UTC)
    query = TaskQuery(most=1_000_000)
    tasks = _read(store_url, arguments.config, lambda path: read_tasks(path, query, now))
    letters = _read(store_url, arguments.config, lambda path: read_letters(path, arguments.id))
    if tasks is None or letters is None:
        return EXIT_FAILED
    task = next((each for each in tasks if each.id == arguments.id), None)
    if task is None:
        print(f"no task has the id `{arguments.id}`", file=sys.stderr)
        return EXIT_FAILED
    if arguments.json:
        print(_as_json(task))
        return EXIT_OK
    print(_line(task, now))
    for label, value in (
        ("device", f"{task.device} ({task.device_id})"),
        ("cause", task.cause),
        ("found by", task.sensor),
        ("opened", task.opened_at.isoformat(timespec="seconds")),
        ("due", task.due_at.isoformat(timespec="seconds")),
        ("resolved", task.resolved_at.isoformat(timespec="seconds") if task.resolved_at else ""),
        ("by", task.resolution.value if task.resolution else ""),
        ("relapses", str(task.relapses or "")),
    ):
        if value:
            print(f"  {label:<9} {value}")
    for each in task.notes:
        print(f"  note      {each.at.isoformat(timespec='seconds')} {each.by}: {each.text}")
    for letter in letters:
        tries = f"{letter.attempts} attempts" + (f", {letter.error}" if letter.error else "")
        print(f"  told      {letter.target}: {letter.event}: {letter.state.value} ({tries})")
    return EXIT_OK


def _read(store_url: str, config: str, read: Any) -> Any:
    """Return what `read` finds in the store's file, None after a message when it cannot be read."""
    import sqlite3  # noqa: PLC0415
    import sys  # noqa: PLC0415

    from gateway.config.paths import database_path  # noqa: PLC0415

    path = database_path(store_url, config)
    try:
        return read(path)
    except sqlite3.Error as error:
        print(f"the store `{path}` cannot be read: {error}", file=sys.stderr)
        return None


def _line(task: Any, now: Any) -> str:
    late = " OVERDUE" if task.is_overdue(now) else ""
    who = f" · {task.assignee}" if task.assignee else ""
    ticket = f" · {task.ticket}" if task.ticket else ""
    return f"{task.id}  {task.state.value:<11} {task.severity.value:<8} {task.device}: {task.title}{who}{ticket}{late}"


def _as_json(task: Any) -> str:
    import msgspec  # noqa: PLC0415

    from gateway.remediation.letters import task_data  # noqa: PLC0415

    return msgspec.json.encode(task_data(task)).decode()


def _post(arguments: argparse.Namespace, run_dir: str, path: str, body: dict[str, object]) -> int:
    import asyncio  # noqa: PLC0415

    return asyncio.run(_ask(arguments, run_dir, path, body))


async def _ask(arguments: argparse.Namespace, run_dir: str, path: str, body: dict[str, object]) -> int:
    from pathlib import Path  # noqa: PLC0415

    import aiohttp  # noqa: PLC0415

    socket = str(Path(run_dir) / "admin.sock")
    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=timeout) as session,
            session.post(f"http://gateway{path}", json=body) as response,
        ):
            answer = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    if response.status == NOT_FOUND:
        print(f"no task has the id `{arguments.id}`")
        return EXIT_FAILED
    if response.status == INVALID:
        print(f"refused: {answer.get('fault', '')}")
        return EXIT_INVALID
    if response.status != 200:  # noqa: PLR2004 - the one status that is left
        print(f"not done: {answer.get('fault', '')}")
        return EXIT_FAILED
    if arguments.json:
        import msgspec  # noqa: PLC0415

        print(msgspec.json.encode(answer).decode())
    elif "retried" in answer:
        print(f"{answer['retried']} letters are tried again")
    else:
        print(f"{answer['id']}  {answer['state']}")
    return EXIT_OK

"""What the store of a configuration holds now, read without disturbing the gateway that runs on it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.proving import NoAnswer

if TYPE_CHECKING:
    from gateway.config.load import LoadedConfig
    from gateway.decision.explain import DecisionRecord
    from gateway.decision.hypothetical import Real
    from gateway.decision.impact import Known
    from risk.model import Posture


def read_known(loaded: "LoadedConfig", now: datetime) -> "Known":
    """Return the devices, users and live sessions that are known. Raises `NoAnswer` when the store cannot be read."""
    from datetime import timedelta  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.decision.impact import Known  # noqa: PLC0415
    from gateway.sessions.model import Lifetimes, is_live  # noqa: PLC0415
    from gateway.sessions.sqlite import read_sessions  # noqa: PLC0415
    from risk.snapshot import RiskState  # noqa: PLC0415
    from risk.sqlite import read_all_devices, read_users  # noqa: PLC0415

    settings = loaded.config.sessions
    lifetimes = Lifetimes(
        idle=timedelta(seconds=settings.idle), absolute=timedelta(seconds=settings.absolute), per_user=1
    )
    state = RiskState()
    with _reading(loaded) as connection:
        state.load((), read_users(connection))
        for rows in read_all_devices(connection):
            state.load(rows)
        sessions = [each for each in read_sessions(connection) if is_live(each, lifetimes, now)]
    return Known(source=state, devices=tuple(state.device_ids()), sessions=tuple(sessions))


def read_records(loaded: "LoadedConfig", since: datetime, most: int) -> "Iterator[DecisionRecord]":
    """Yield the decision records since an instant, newest first, at most `most`. Raises `NoAnswer`."""
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.decision.explain import DecisionRecord  # noqa: PLC0415

    decoder = msgspec.json.Decoder(DecisionRecord)
    query = "SELECT record FROM risk_decisions WHERE created_at >= ? ORDER BY created_at DESC LIMIT ?"
    with _reading(loaded) as connection:
        for (record,) in connection.execute(query, (int(since.timestamp() * 1_000_000), most)):
            yield decoder.decode(record)


@contextmanager
def _reading(loaded: "LoadedConfig") -> Iterator[sqlite3.Connection]:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.config.paths import database_path  # noqa: PLC0415

    path = database_path(loaded.config.store.url, str(loaded.path))
    if not Path(path).exists():
        raise NoAnswer(f"there is no store at {path}: the gateway has not run with this configuration")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            yield connection
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise NoAnswer(f"the store at {path} cannot be read: {error}") from error


def read_real(loaded: "LoadedConfig", *, user: str | None, device: str | None, now: datetime) -> "Real":
    """Return a real device and the latest sign-in of a real person, None for what is not asked for or not signed in.

    Raises `NoAnswer` for a device that is not known, and when the store cannot be read.
    """
    from gateway.decision.hypothetical import NOTHING_REAL, Real  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.decision.persons import person_identifiers  # noqa: PLC0415

    if user is None and device is None:
        return NOTHING_REAL
    try:
        known = read_known(loaded, now)
    except NoAnswer:
        if device is not None:
            raise
        return NOTHING_REAL
    posture = None if device is None else _device(known, device)
    mine = [
        each for each in known.sessions if user is not None and user in {each.user.subject, each.user.email}
    ]
    signed_in = max(mine, key=lambda each: each.created_at).user if mine else None
    person = None if signed_in is None else known.source.user(person_identifiers(signed_in))[1]
    return Real(posture=posture, user=signed_in, person=person)


def _device(known: "Known", wanted: str) -> "Posture":
    folded = wanted.casefold()
    for device_id in known.devices:
        posture = known.source.posture(device_id)
        if posture is None:
            continue
        names = {device_id, posture.name.casefold(), *(each.value.casefold() for each in posture.identifiers)}
        if folded in names:
            return posture
    raise NoAnswer(f"no device is known as `{wanted}`")

"""What a sensor may speak about. Pure.

A statement that goes beyond it is refused as a whole and kept as a dead letter; identifiers of kinds that the sensor
may not use are left out of it first.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from risk.devices import normalise_identifier
from risk.model import Identifier, Signal, SignalType
from risk.values import Strict


class Subjects(Strict, frozen=True):
    """Whom a sensor may speak about.

    Field: about: `device`, `user`, or both.
    Field: identifiers: kinds of identifiers that it may name them by; none given, all.
    Field: names: patterns such as `lt-*` of the names of the devices it may speak about; none given, all.
    """

    about: tuple[Literal["device", "user"], ...] = ("device", "user")
    identifiers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class NotAllowed(Exception):
    """A statement about somebody whom its sensor may not speak about."""


def allowed(signal: Signal, subjects: Subjects) -> Signal:
    """Return the signal with the identifiers that its sensor may use. Raises `NotAllowed`."""
    is_heartbeat = signal.type is SignalType.HEARTBEAT and not signal.device_ids and not signal.user_ids
    about = "device" if signal.device_ids else "user"
    if about not in subjects.about and not is_heartbeat:
        raise NotAllowed(f"sensor `{signal.sensor}` may not speak about a {about}")
    if not subjects.identifiers:
        return signal
    devices = tuple(each for each in signal.device_ids if each.kind in subjects.identifiers)
    users = tuple(each for each in signal.user_ids if each.kind in subjects.identifiers)
    if (signal.device_ids and not devices) or (about == "user" and signal.user_ids and not users):
        kinds = ", ".join(subjects.identifiers)
        raise NotAllowed(
            f"sensor `{signal.sensor}` names it by none of the identifiers that it may use: {kinds}"
        )
    if len(devices) == len(signal.device_ids) and len(users) == len(signal.user_ids):
        return signal
    return msgspec.structs.replace(signal, device_ids=devices, user_ids=users)


def check_names(sensor: str, subjects: Subjects, identifiers: Iterable[Identifier]) -> None:
    """Check that one of the device's names is allowed. Raises `NotAllowed`, also when no name is known."""
    if not subjects.names:
        return
    normal = (normalise_identifier(each) for each in identifiers if each.kind == "hostname")
    names = [each.value for each in normal if each is not None]
    patterns = [pattern.casefold() for pattern in subjects.names]
    if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
        told = ", ".join(names[:8]) or "without a name"
        raise NotAllowed(f"sensor `{sensor}` may not speak about this device ({told})")

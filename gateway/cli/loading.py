"""Loading the configuration for a command: faults go to standard error, all of them."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.load import LoadedConfig


def load_or_print(path: str) -> "LoadedConfig | None":
    """Return the configuration of `path`; None after printing every fault of it."""
    from gateway.config.errors import ConfigInvalid  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.sensors import load_config  # noqa: PLC0415

    try:
        return load_config(path)
    except ConfigInvalid as invalid:
        for fault in invalid.faults:
            print(fault, file=sys.stderr)
        return None

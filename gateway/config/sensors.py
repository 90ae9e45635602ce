"""Loading with the installed sensor kinds and the real environment: what every command and the hub use."""

import os
from functools import cache

import msgspec

from gateway.config.load import LoadedConfig, load
from gateway.config.paths import with_absolute_paths
from plugins.bounds import PluginFault
from plugins.catalog import Catalog


def load_config(path: str, *, is_proving: bool = True) -> LoadedConfig:
    """Return the configuration of a file, sensor options checked by their plugins. Raises `ConfigInvalid`.

    `is_proving` as for `load`.
    """
    catalog = installed()

    def options(kind: str) -> type[msgspec.Struct] | None:
        try:
            return catalog.sensor(kind).options_type
        except PluginFault:
            return None

    loaded = load(path, os.environ, sensor_options=options, sensor_kinds=catalog.kinds, is_proving=is_proving)
    return msgspec.structs.replace(loaded, config=with_absolute_paths(loaded.config, path))


@cache
def installed() -> Catalog:
    """Return the installed sensor kinds; found once, since a process never gains one."""
    return Catalog.discover()

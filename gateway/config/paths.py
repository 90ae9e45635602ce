"""Where files named in the configuration are. Relative paths are relative to the configuration file."""

from pathlib import Path

import msgspec

from gateway.config.certificates import ClientCertificate
from gateway.config.schema import Config, DeviceCertificate

MEMORY = ":memory:"


def database_path(url: str, config_path: str) -> Path:
    """Return the file of a `sqlite:` URL: `sqlite:///abs/path`, or `sqlite:relative/path`.

    >>> database_path("sqlite:///var/lib/gate/state.db", "/etc/gate.yaml")
    PosixPath('/var/lib/gate/state.db')
    >>> database_path("sqlite:state.db", "/etc/gate/gate.yaml")
    PosixPath('/etc/gate/state.db')
    """
    rest = url.removeprefix("sqlite:")
    path = Path(rest.removeprefix("//")) if rest.startswith("///") else Path(rest)
    return path if path.is_absolute() else Path(config_path).resolve().parent / path


def with_absolute_paths(config: Config, config_path: str) -> Config:
    """Return the configuration with every file path made absolute: processes need not share a working folder."""
    base = Path(config_path).resolve().parent

    def absolute(path: str) -> str:
        return str(base / path)

    def optional(path: str | None) -> str | None:
        return None if path is None else absolute(path)

    replace = msgspec.structs.replace
    tls = config.server.tls
    if tls is not None:
        pairs = tuple(
            replace(each, cert=absolute(each.cert), key=absolute(each.key)) for each in tls.certificates
        )
        tls = replace(tls, certificates=pairs, client_ca=optional(tls.client_ca))
    return replace(
        config,
        server=replace(config.server, run_dir=absolute(config.server.run_dir), tls=tls),
        providers=tuple(replace(each, ca=optional(each.ca)) for each in config.providers),
        apps=tuple(replace(each, upstream_ca=optional(each.upstream_ca)) for each in config.apps),
        sensors=tuple(
            replace(
                each,
                pull=each.pull and replace(each.pull, ca=optional(each.pull.ca)),
                auth=replace(each.auth, ca=absolute(each.auth.ca))
                if isinstance(each.auth, ClientCertificate)
                else each.auth,
            )
            for each in config.sensors
        ),
        devices=tuple(
            replace(each, ca=optional(each.ca)) if isinstance(each, DeviceCertificate) else each
            for each in config.devices
        ),
    )

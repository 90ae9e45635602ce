"""Where files named in the configuration are. Relative paths are relative to the configuration file."""

from pathlib import Path

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

"""What a configuration points at, tried for real: store, providers, upstreams.

Plain blocking calls with time-outs.
"""

import json
import os
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config.load import LoadedConfig
from gateway.config.paths import database_path
from gateway.config.schema import Provider

TIMEOUT_S = 5.0
MAX_METADATA_BYTES = 1024 * 1024

Probe = Callable[[], str | None]
"""Tries one thing and returns why it failed, None when it is well. Never raises for what the network does."""


def live_checks(loaded: LoadedConfig) -> Iterator[tuple[str, Probe]]:
    """Yield a name and a probe for everything that can be reached from here."""
    config, base = loaded.config, loaded.path.parent
    yield f"store {config.store.url}", partial(check_store, database_path(config.store.url, str(loaded.path)))
    yield f"run_dir {config.server.run_dir}", partial(check_folder, Path(config.server.run_dir))
    for provider in config.providers:
        yield f"provider {provider.name} {provider.issuer}", partial(check_provider, provider, base)
    for app in config.apps:
        for upstream in app.upstreams:
            yield f"app {app.name} {upstream}", partial(check_upstream, upstream, app.upstream_ca, base)


def check_store(path: Path) -> str | None:
    """Return why the database could not be used: a sound file, or a folder in which one can be made."""
    if not path.exists():
        return check_folder(path.parent)
    try:
        with sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=TIMEOUT_S) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if found == ("ok",) else f"damaged: {found[0]}"


def check_folder(folder: Path) -> str | None:
    """Return why nothing could be made in a folder, which itself may still have to be made."""
    nearest = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    return None if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written by this user"


def check_provider(provider: Provider, base: Path) -> str | None:
    """Return why the provider's metadata cannot be used. Source: OpenID Connect Discovery 1.0 section 4.3."""
    address = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        metadata = _fetch_json(address, _tls(provider.ca, base))
    except urllib.error.HTTPError as error:
        return f"{address} answered {error.code}"
    except (OSError, ValueError) as error:
        return f"{address}: {_reason(error)}"
    if not isinstance(metadata, dict):
        return f"{address} is no metadata"
    if metadata.get("issuer") != provider.issuer:
        return f"the provider calls itself `{metadata.get('issuer')}`, not `{provider.issuer}`"
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    missing = [name for name in needed if not isinstance(metadata.get(name), str)]
    return f"its metadata lacks {', '.join(missing)}" if missing else None


def check_upstream(upstream: str, ca: str | None, base: Path) -> str | None:
    """Return why no connection to the app can be made: TCP, TLS with its certificate, or Unix socket."""
    try:
        if upstream.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.connect(upstream.removeprefix("unix:"))
            return None
        url = urlsplit(upstream)
        is_tls = url.scheme == "https"
        address = (url.hostname or "", url.port or (443 if is_tls else 80))
        with socket.create_connection(address, TIMEOUT_S) as connection:
            if is_tls:
                with _tls(ca, base).wrap_socket(connection, server_hostname=url.hostname):
                    pass
    except OSError as error:
        return _reason(error)
    return None


def _fetch_json(address: str, tls: ssl.SSLContext) -> Any:
    # No proxy of the environment: the gateway itself uses none either.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls), _NoRedirect()
    )
    request = urllib.request.Request(address, headers={"Accept": "application/json"})  # noqa: S310 - http(s) by the schema
    with opener.open(request, timeout=TIMEOUT_S) as response:
        return json.loads(response.read(MAX_METADATA_BYTES))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Metadata that is elsewhere is not this issuer's."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing."""


def _tls(ca: str | None, base: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(base / ca) if ca else None)


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"certificate: {inner.verify_message}"
    if isinstance(inner, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return str(inner)

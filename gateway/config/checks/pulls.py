"""Checks of how sensors' products are asked."""

from functools import cache
from urllib.parse import urlsplit

from gateway.config.asked import CloudflareAccess
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.pulls import Pull
from gateway.config.schema import Sensor
from plugins.bounds import PluginFault
from plugins.catalog import Catalog
from plugins.pulling import Grant, PullAccess

MIN_INTERVAL_S = 10.0
MAX_PAGE = 1000


@cache
def access_of(kind: str) -> PullAccess | None:
    """Return how products of a kind are asked, None for one that cannot be; raises `PluginFault` for no kind."""
    return Catalog.discover().sensor(kind).pull_access


def check_pull(checks: Checks, path: KeyPath, sensor: Sensor) -> None:
    """Check that the product can be asked, that we know where, and that the credentials are whole and safe."""
    _asker(checks, path, sensor)
    pull, path = sensor.pull, (*path, "pull")
    if pull is None:
        return
    try:
        access = access_of(sensor.kind)
    except PluginFault:
        return
    if access is None:
        message = f"kind `{sensor.kind}` cannot be asked: it only takes deliveries"
        checks.fault(Code.SENSOR_KIND, path, message, "remove `pull`")
        return
    checks.positive(path, pull, "interval", "timeout", "page_size", "max_bytes")
    if 0 < pull.interval < MIN_INTERVAL_S:
        checks.fault(Code.RANGE, (*path, "interval"), f"at least {MIN_INTERVAL_S:g}s", "such as `5m`")
    if pull.page_size > MAX_PAGE:
        checks.fault(Code.RANGE, (*path, "page_size"), f"at most {MAX_PAGE}")
    for name in ("url", "token_url"):
        _secure(checks, (*path, name), getattr(pull, name))
    if pull.ca is not None:
        checks.bundle((*path, "ca"), pull.ca)
    _whole(checks, path, sensor.kind, pull, access)


def _asker(checks: Checks, path: KeyPath, sensor: Sensor) -> None:
    """Check that a product that asks, and no other, proves itself as one."""
    is_asker = isinstance(sensor.auth, CloudflareAccess)
    if is_asker != (sensor.kind == "cloudflare"):
        message = "`cloudflare-access` goes with the kind `cloudflare`, and that kind with nothing else"
        checks.fault(Code.SENSOR_KIND, (*path, "auth"), message)
    if isinstance(sensor.auth, CloudflareAccess):
        _secure(checks, (*path, "auth", "team"), sensor.auth.team)
        if not sensor.auth.audiences or not all(sensor.auth.audiences):
            message = "without an audience every application of the team could ask"
            checks.fault(
                Code.UNSAFE, (*path, "auth", "audiences"), message, "add the AUD tag of the application"
            )


def _whole(checks: Checks, path: KeyPath, kind: str, pull: Pull, access: PullAccess) -> None:
    """Check that nothing is missing that the kind needs."""
    wanted = {Grant.TOKEN: ("token",), Grant.CLIENT_CREDENTIALS: ("client_id", "client_secret")}[access.grant]
    if "{tenant}" in (pull.token_url or access.token_url):
        wanted = (*wanted, "tenant")
    for name in wanted if access.url else ("url", *wanted):
        if not getattr(pull, name):
            checks.fault(Code.MISSING_KEY, path, f"kind `{kind}` needs `{name}`", f"add `{name}`")


def _secure(checks: Checks, path: KeyPath, url: str | None) -> None:
    """Check an address: credentials go there, so that it is https unless it is this machine."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.query or parts.fragment:
        checks.fault(
            Code.URL, path, f"{shown(url)} is no address of a product", "such as `https://fleet.example`"
        )
    elif parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        checks.fault(Code.UNSAFE, path, "credentials would go over plain http", "use https")

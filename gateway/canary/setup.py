"""How a canary is made for a configuration: where it enters, and its session."""

import ipaddress
import ssl
from pathlib import Path

from gateway.canary.app import SOCKET
from gateway.canary.builtin import HOST, Builtin, builtin
from gateway.canary.client import Door
from gateway.canary.runner import Settings
from gateway.config.schema import Canary as CanarySection
from gateway.config.schema import Config, Server
from gateway.sessions.registry import SessionRegistry, SignInFacts

UNIX = "unix:"
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where the listener is, not where we listen


def make_parts(config: Config, secret: str, claim: str) -> Builtin:
    """Return the built-in parts; `secret` and `claim` are random texts of this process."""
    path = (Path(config.server.run_dir) / SOCKET).absolute()
    return builtin(secret, claim, f"{UNIX}{path}")


def make_settings(config: Config, section: CanarySection, workers: int) -> Settings:
    """Return how the canary of this configuration runs."""
    scheme, _, login_host = config.public_url.rstrip("/").partition("://")
    return Settings(
        every_s=section.every,
        timeout_s=section.timeout,
        workers=workers,
        login_host=login_host,
        door=_door(config.server, section.address or config.server.listen),
        cookie_name="__Host-gate" if scheme == "https" else "gate",
    )


def _door(server: Server, address: str) -> Door:
    if address.startswith(UNIX):
        return Door(path=address.removeprefix(UNIX), tls=_own_tls(server))
    host, _, port = address.rpartition(":")
    host = ANY.get(host.strip("[]"), host.strip("[]"))
    return Door(host=host, port=int(port), tls=_own_tls(server), says_proxy=_is_balancer(server, host))


def _own_tls(server: Server) -> ssl.SSLContext | None:
    """Return a context for our own listener: its certificate is for other names than the address we go to."""
    if server.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_balancer(server: Server, host: str) -> bool:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    nets = [ipaddress.ip_network(cidr) for cidr in server.proxy_protocol]
    return any(net.version == address.version and address in net for net in nets)


async def begin_session(parts: Builtin, sessions: SessionRegistry) -> str:
    """Begin a session of the canary's own and return its cookie; earlier ones end."""
    await sessions.end_all(sessions.by_subject(parts.user.issuer, parts.user.subject))
    session = await sessions.create(SignInFacts(user=parts.user, devices=(parts.device,)))
    cookie = await sessions.add_cookie(session.id, HOST)
    return cookie or ""

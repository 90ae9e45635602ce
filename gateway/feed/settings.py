"""What a worker needs of the configuration: routes, limits, networks. No secret ever goes to a worker."""

import msgspec

from gateway.config.certificates import ClientCertificate
from gateway.config.locations import Network, WithoutCountries
from gateway.config.profiles import BannerMode, SessionProfile
from gateway.config.schema import App, ClientCertificates, Config, DeviceCertificate, HealthCheck, Limits, Tls
from gateway.controls.notice import NoticeTexts
from gateway.localised import LocalisedTexts
from gateway.supervisor import worker_count


class WorkerApp(msgspec.Struct, frozen=True, kw_only=True):
    """An app as a worker routes it. `limits` are its own where they differ from the server's, else None."""

    name: str
    host: str
    path_prefix: str
    upstreams: tuple[str, ...]
    upstream_ca: str | None
    public_paths: tuple[str, ...]
    preserve_host: bool
    body_bytes: int
    limits: Limits | None = None
    health: HealthCheck | None = None
    strip_prefix: bool = False
    add_prefix: str = ""
    client_certificate: ClientCertificates = ClientCertificates.OPTIONAL
    banner: BannerMode | None = None
    websocket_origins: tuple[str, ...] = ()
    cors_preflights: bool = False


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker serves by. `workers` is how many there are on this node.

    `notices` are the texts of the notice in pages of limited sessions, the default language first. `reasons` are those
    of policies that are given in several languages.
    """

    revision: str
    listen: str
    login_host: str
    is_https: bool
    tls: Tls | None
    limits: Limits
    trusted_proxies: tuple[str, ...]
    proxy_protocol: tuple[str, ...]
    accepts_client_cert: bool
    networks: tuple[Network, ...]
    apps: tuple[WorkerApp, ...]
    profiles: tuple[SessionProfile, ...] = ()
    country_database: str | None = None
    without_country_database: WithoutCountries = WithoutCountries.REFUSE
    workers: int = 1
    notices: tuple[NoticeTexts, ...] = ()
    reasons: LocalisedTexts = LocalisedTexts()
    spare_pages: bytes = b""


def worker_settings(
    config: Config,
    revision: str,
    apps: tuple[App, ...] | None = None,
    notices: tuple[NoticeTexts, ...] = (),
    *,
    texts: LocalisedTexts | None = None,
    spare_pages: bytes = b"",
) -> WorkerSettings:
    """Return the part of the configuration that workers serve by. `apps` are those to serve; default: all.

    `spare_pages` are packed by `gateway.wire.spare`.
    """
    return WorkerSettings(
        revision=revision,
        listen=config.server.listen,
        login_host=config.public_url.split("://", 1)[1].rstrip("/"),
        is_https=config.public_url.startswith("https://"),
        tls=config.server.tls,
        limits=config.server.limits,
        trusted_proxies=config.server.trusted_proxies,
        proxy_protocol=config.server.proxy_protocol,
        accepts_client_cert=any(
            isinstance(each, DeviceCertificate) and each.header for each in config.devices
        )
        or any(isinstance(each.auth, ClientCertificate) and each.auth.header for each in config.sensors),
        networks=config.networks,
        country_database=config.country_database,
        without_country_database=config.without_country_database,
        apps=tuple(_worker_app(app, config.server.limits) for app in (config.apps if apps is None else apps)),
        profiles=config.session_profiles,
        workers=max(1, worker_count(config.server.workers)),
        notices=notices,
        reasons=(texts or LocalisedTexts()).in_several(),
        spare_pages=spare_pages,
    )


def _worker_app(app: App, limits: Limits) -> WorkerApp:
    return WorkerApp(
        name=app.name,
        host=app.host.lower(),
        path_prefix=app.path_prefix,
        upstreams=app.upstreams,
        upstream_ca=app.upstream_ca,
        public_paths=app.public_paths,
        preserve_host=app.preserve_host,
        body_bytes=app.body_bytes if app.body_bytes is not None else limits.body_bytes,
        limits=_own_limits(app, limits),
        health=app.health,
        strip_prefix=app.strip_prefix,
        add_prefix=app.add_prefix.rstrip("/"),
        client_certificate=app.client_certificate,
        banner=app.banner,
        websocket_origins=app.websocket_origins,
        cors_preflights=app.cors_preflights,
    )


def _own_limits(app: App, limits: Limits) -> Limits | None:
    """Return the server's limits with the times of the app, None when it has none of its own."""
    times = app.timeouts
    own = {
        "connect_timeout": times.connect,
        "response_timeout": times.response,
        "stream_idle_timeout": times.idle,
        "tunnel_idle_timeout": times.tunnel,
    }
    given = {name: value for name, value in own.items() if value is not None}
    return msgspec.structs.replace(limits, **given) if given else None


def encode_settings(settings: WorkerSettings) -> bytes:
    """Return the bytes that the feed carries."""
    return msgspec.json.encode(settings)


def decode_settings(payload: bytes) -> WorkerSettings:
    """Return the settings. Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(payload, type=WorkerSettings)

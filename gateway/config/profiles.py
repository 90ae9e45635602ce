"""Session profiles: named sets of session controls with their parameters. Part of `gateway.config.schema`."""

from enum import StrEnum
from typing import Annotated

import msgspec

from risk.values import ByteSize, Duration, Strict

ProfileName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class BannerMode(StrEnum):
    """Who tells people that their access is limited: the gateway in the app's pages, the app itself, or nobody."""

    GATEWAY = "gateway"
    APP = "app"
    OFF = "off"


class ReadOnly(Strict, frozen=True):
    """Nothing can be changed: only these methods, without a body; no WebSocket and no other upgrade.

    Headers and parameters that ask for another method, and GraphQL mutations in the address, are refused too.

    Field: methods: methods that may be used.
    Field: graphql: paths of GraphQL endpoints: a POST passes there when its body holds nothing but queries.
    Field: allow: paths that this control does not limit, such as a search that is sent as a form.
    """

    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")
    graphql: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class NoDownloads(Strict, frozen=True):
    """Only what browsers show is passed on, only when its first bytes look like what its type says, in a sandbox.

    No WebSocket and no other upgrade, for nobody can look into it; no redirect to a host that the gateway does not
    guard.

    Field: display: media types that may be passed on, `image/*` for all of a kind; default: pages, text, JSON, XML,
        scripts, styles, fonts, images, sound and video.
    Field: pdf: whether PDF may be shown too; the viewers of browsers have a button that saves it.
    Field: sandbox: whether pages are shown in a sandbox (`Content-Security-Policy: sandbox`) in which no script and no
        link can save anything.
    Field: max_bytes: longest response; default: any length.
    Field: hosts: further hosts that a response may lead to, such as a sign-in of the app's own; `*.example.org` for
        all below.
    Field: allow: paths that this control does not limit.
    """

    display: tuple[str, ...] = ()
    pdf: bool = False
    sandbox: bool = True
    max_bytes: ByteSize | None = None
    hosts: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class NoUploads(Strict, frozen=True):
    """No request may bring a file: no `PUT`, no multipart form, no WebSocket, no body above a bound.

    Field: max_bytes: longest body of a plain form, JSON or text; `0B` is no body at all.
    Field: allow: paths that this control does not limit.
    """

    max_bytes: ByteSize = 0
    allow: tuple[str, ...] = ()


class NoWebsocket(Strict, frozen=True):
    """No WebSocket and no other upgrade.

    Field: allow: paths where they may be opened after all.
    """

    allow: tuple[str, ...] = ()


class ResponseHardening(Strict, frozen=True):
    """Headers of responses. What the app says itself stays in force where it is stricter.

    Field: csp: a further Content-Security-Policy; browsers hold pages to all that they are sent.
    Field: nosniff: whether browsers must take the declared type (`X-Content-Type-Options`).
    Field: deny_frames: whether no page may frame this app.
    Field: referrer: the `Referrer-Policy`, such as `no-referrer`; default: the app's.
    """

    csp: str = ""
    nosniff: bool = False
    deny_frames: bool = False
    referrer: str = ""


class SessionProfile(Strict, frozen=True):
    """A named set of session controls. Access policies with `decision: restrict` name it in `profiles`.

    Several profiles add up, and the plain `controls` with them: of each limit the strictest counts.

    Field: name: how access policies call it.
    Field: read_only: nothing can be changed; `{}` for the defaults.
    Field: no_downloads: nothing but what browsers show; `{}` for the defaults.
    Field: no_uploads: no files from the device; `{}` for the defaults.
    Field: hidden_paths: paths that are closed, in any case of letters.
    Field: no_websocket: no live connections; `{}` for the defaults.
    Field: no_store: whether browsers are told to keep nothing, and nothing that they kept is used again.
    Field: headers: headers of responses.
    Field: reauthenticate: a sign-in older than this has to be done anew, which is also the longest that the limited
        session lasts.
    Field: requests_per_minute: most requests of the session to all apps together (429 above).
    Field: bytes_per_hour: most bytes of response bodies to the session from all apps together (429 above); without
        WebSockets, whose bytes nobody counts.
    Field: banner: `gateway` inserts a notice into pages, `app` leaves it to the app, `off` says nothing.
    Field: watermark: whether the notice comes with the person's name all over the page; needs `banner: gateway`.
    """

    name: ProfileName
    read_only: ReadOnly | None = None
    no_downloads: NoDownloads | None = None
    no_uploads: NoUploads | None = None
    hidden_paths: tuple[str, ...] = ()
    no_websocket: NoWebsocket | None = None
    no_store: bool = False
    headers: ResponseHardening = ResponseHardening()
    reauthenticate: Duration | None = None
    requests_per_minute: int | None = None
    bytes_per_hour: ByteSize | None = None
    banner: BannerMode = BannerMode.OFF
    watermark: bool = False

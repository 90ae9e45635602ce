"""Forms that came too late: kept until the person is back, then offered to be sent by a click, never by itself.

A form is taken only from a page of the very same origin (the worker looks at that), only for somebody whose session we
know or knew a moment ago, and only within bounds. `/.gate/resume` gives it back to that person on that device.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote, urlsplit

import aiohttp
import structlog
from aiohttp import web

from gateway.config.remediation import KeptForms as Settings
from gateway.hub import wording
from gateway.hub.desk import Desk
from gateway.hub.front import Front, read_front
from gateway.hub.keeping import Keeping
from gateway.hub.pages import Pages
from gateway.hub.signin_front import Front as Origin
from gateway.hub.signin_front import cookie_headers, is_same_origin, referring_path
from gateway.remediation.form_store import SqliteFormStore
from gateway.remediation.forms import (
    MAX_FIELDS,
    MAX_UPLOADS,
    MULTIPART,
    NAME_MAX,
    KeptForm,
    Lost,
    NotKept,
    Typed,
    Upload,
    as_text,
    parse_urlencoded,
)
from gateway.sessions import cookies
from gateway.sessions.cookies import CookieName
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("forms")

READ_CHUNK = 65536
CARRIED_BYTES = 256 * 1024
"""Most bytes of fields that a page holds which anybody can ask for: it is made while others wait."""
SIGNED_IN_PAGE = "/.gate/me"
"""Where a sign-in ends that was begun beside a page which holds a form."""


class SignedIn(Protocol):
    """What this module asks of sign-in."""

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of the cookie on this host, or None."""
        ...

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Begin a sign-in."""
        ...

    def sign_in_path(self, path: str) -> str:
        """Return the path where a sign-in begins that comes back to `path`."""
        ...


class KeptForms:
    """Keeps forms and gives them back."""

    def __init__(
        self,
        *,
        store: SqliteFormStore,
        sessions: SessionRegistry,
        sign_in: SignedIn,
        desk: Desk,
        pages: Pages,
        settings: Callable[[], Settings],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._sign_in = sign_in
        self._desk = desk
        self._pages = pages
        self._settings = settings
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; every app host has them."""
        return [
            web.get("/.gate/resume", self.resume),
            web.get("/.gate/resume/text", self.text),
            web.post("/.gate/resume/forget", self.forget),
        ]

    # --- keeping -----------------------------------------------------------------------------------------------

    async def keep(self, request: web.Request, app: str) -> Keeping | None:
        """Keep the form of a refused request and say what became of it; None when the request had none."""
        sent = request.headers.get("X-Gate-Form")
        if sent is None:
            return None
        try:
            return await self._keep(request, app, is_too_large=sent != "sent")
        except NotKept as lost:
            await _read_away(request)
            log.info("form-not-kept", app=app, why=lost.why.value)
            return Keeping(lost=lost.why)

    async def _keep(self, request: web.Request, app: str, *, is_too_large: bool) -> Keeping:
        settings, front, now = self._settings(), read_front(request), self._clock()
        if settings.keep <= 0:
            raise NotKept(Lost.OFF)
        if is_too_large:
            raise NotKept(Lost.TOO_LARGE)
        session = self._owner(request, front)
        if session is None:
            raise NotKept(Lost.NOBODY)
        typed = await read_typed(request, settings.bytes)
        form = KeptForm(
            host=front.host,
            target=request.raw_path,
            page=referring_path(request, Origin(front.scheme, front.host)),
            app=app,
            typed=typed,
            device=self._device(session, front, now),
            kept_at=now,
            expires_at=now + timedelta(seconds=settings.keep),
        )
        try:
            key = await self._store.keep(form, _name(session), per_user=settings.per_user, most=settings.most)
        except (StoreFault, StoreOverloaded) as error:
            log.error("form-store-failed", error=str(error))
            raise NotKept(Lost.STORE) from error
        log.info("form-kept", app=app, subject=session.user.subject, fields=len(typed.fields))
        return Keeping(key=key, until=form.expires_at, uploads=typed.uploads)

    def _owner(self, request: web.Request, front: Front) -> Session | None:
        """Return the session of the sender, live or just over: it says whose form this is, and nothing else."""
        live = self._sign_in.session_of(request)
        if live is not None:
            return live
        is_secure = front.scheme == "https"
        value = cookies.find(cookie_headers(request), CookieName.SESSION, is_secure=is_secure)
        return None if value is None else self._sessions.lately(value, front.host)

    def _device(self, session: Session, front: Front, now: datetime) -> str:
        return self._desk.situation(session, "", front.evidence, now).context.device_id or ""

    # --- carrying --------------------------------------------------------------------------------------------

    async def carry(self, request: web.Request, app: str) -> web.StreamResponse | None:
        """Return a page that holds a form which came without a session and that nobody keeps; None for all else.

        A form that another site sends comes without the cookie (`SameSite=Lax`), whether or not the person is signed
        in. The page's own button sends it with the cookie, and so it names that site: the person decides. Nothing is
        stored, so that other sites fill no store. The same page serves the app's own form of somebody whom we do not
        know any more: otherwise what was typed would be lost.
        """
        if "X-Gate-Form" not in request.headers:
            return None
        front, origin = read_front(request), _foreign_origin(request)
        if origin is None and self._owner(request, front) is not None:
            return None
        typed = await self._carried(request, app)
        if typed is None and origin is None:
            return None
        view = wording.carried(
            wording.PageContext(now=self._clock(), app=self._desk.title_of(app)),
            typed,
            origin=origin,
            target=request.raw_path,
            sign_in_url=self._sign_in.sign_in_path(SIGNED_IN_PAGE),
        )
        return self._pages.carried(view, scheme=front.scheme)

    async def _carried(self, request: web.Request, app: str) -> Typed | None:
        """Return the form of a request, None when no page can hold it."""
        try:
            if request.headers["X-Gate-Form"] == "sent":
                typed = await read_typed(request, min(CARRIED_BYTES, self._settings().bytes))
                log.info("form-carried", app=app, fields=len(typed.fields))
                return typed
        except NotKept as lost:
            log.info("form-not-carried", app=app, why=lost.why.value)
        await _read_away(request)
        return None

    # --- giving back -------------------------------------------------------------------------------------------

    async def find(self, request: web.Request, session: Session, key: str) -> KeptForm | None:
        """Return a kept form for the person of `session` on the device of this request, or None."""
        if not key:
            return None
        front, now = read_front(request), self._clock()
        form = await self._store.find(key, _name(session), now)
        if form is None or form.host != front.host:
            return None
        if form.device and form.device != self._device(session, front, now):
            return None
        return form

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/resume`: offer to send the form. Nothing is sent without a click."""
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        key = request.query.get("f", "")
        form = await self.find(request, session, key)
        context = self._context(session, form)
        if form is None:
            return self._pages.error(wording.error(context, "form-gone", action_url="/"))
        front = read_front(request)
        return self._pages.resume(wording.resume(context, form, key), scheme=front.scheme)

    async def text(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/resume/text`: what was typed, as a text file."""
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        form = await self.find(request, session, request.query.get("f", ""))
        if form is None:
            return self._pages.error(wording.error(self._context(session, None), "form-gone", action_url="/"))
        headers = {
            "Content-Disposition": 'attachment; filename="typed.txt"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(text=as_text(form), content_type="text/plain", charset="utf-8", headers=headers)

    async def forget(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/resume/forget`: throw the form away."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        context = self._context(session, None)
        if not is_same_origin(request, Origin(front.scheme, front.host)):
            return self._pages.error(wording.error(context, "cross-site-request"))
        key = request.query.get("f", "")
        form = await self.find(request, session, key)
        await self._store.drop(key, _name(session))
        location = "/" if form is None else quote(form.page, safe="/?&=%;:@!$'()*+,~-._")
        return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})

    def _context(self, session: Session, form: KeptForm | None) -> wording.PageContext:
        user = session.user
        return wording.PageContext(
            now=self._clock(),
            account=user.email or user.name or user.subject,
            app=self._desk.title_of(form.app) if form is not None else "",
        )


def _foreign_origin(request: web.Request) -> str | None:
    """Return the host of the site whose page sent a form, "" when the browser does not name it, None for our own."""
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        return None
    return urlsplit(request.headers.get("Origin", "")).netloc


def _name(session: Session) -> str:
    return f"{session.user.issuer}|{session.user.subject}"


async def read_typed(request: web.Request, most: int) -> Typed:
    """Return the form in a request's body: at most `most` bytes of fields. Raises `NotKept`."""
    if request.headers.get("Content-Length", "0") == "0":
        # Part of it went to the app before access ended: nobody can tell what the app made of it.
        raise NotKept(Lost.UNREADABLE)
    if request.content_type == MULTIPART:
        try:
            return await _read_multipart(request, most)
        except (ValueError, LookupError, aiohttp.ClientError, web.HTTPException) as error:
            raise NotKept(Lost.UNREADABLE) from error
    if (request.content_length or 0) > most:
        raise NotKept(Lost.TOO_LARGE)
    return parse_urlencoded(await request.content.read(-1))


async def _read_away(request: web.Request) -> None:
    """Read a body that is not kept: a browser that may not finish sending shows an error of its own."""
    while await request.content.read(READ_CHUNK):
        pass


async def _read_multipart(request: web.Request, most: int) -> Typed:
    """Read fields, and count the files through without keeping them."""
    fields: list[tuple[str, str]] = []
    uploads: list[Upload] = []
    left = most
    async for part in await request.multipart():
        if not isinstance(part, aiohttp.BodyPartReader) or len(fields) + len(uploads) >= MAX_FIELDS:
            raise NotKept(Lost.UNREADABLE)
        name = (part.name or "")[:NAME_MAX]
        if part.filename is not None:
            size = await _count(part)
            if part.filename and len(uploads) < MAX_UPLOADS:
                uploads.append(Upload(name, part.filename[:NAME_MAX], size))
            continue
        value = await _read_part(part, left)
        left -= len(value) + len(name)
        fields.append((name, value.decode("utf-8")))
    return Typed(fields=tuple(fields), uploads=tuple(uploads), is_multipart=True)


async def _count(part: aiohttp.BodyPartReader) -> int:
    size = 0
    while chunk := await part.read_chunk(READ_CHUNK):
        size += len(chunk)
    return size


async def _read_part(part: aiohttp.BodyPartReader, most: int) -> bytes:
    value = bytearray()
    while chunk := await part.read_chunk(READ_CHUNK):
        value += chunk
        if len(value) > most:
            raise NotKept(Lost.TOO_LARGE)
    return bytes(value)

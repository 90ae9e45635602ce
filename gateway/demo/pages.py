"""Renders the pages of the demo: one style, no files beside the page, light and dark."""

import secrets
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

_environment = Environment(
    loader=PackageLoader("gateway.demo", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, /, *, status: int = 200, **values: Any) -> web.Response:
    """Return the rendered page; its one script runs by nonce, and nothing is loaded from elsewhere."""
    nonce = secrets.token_urlsafe(12)
    response = web.Response(
        text=_environment.get_template(template).render(nonce=nonce, **values),
        content_type="text/html",
        status=status,
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    # No `form-action`: browsers apply it to redirects too, and signing in ends at another origin.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; "
        "connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'"
    )
    return response

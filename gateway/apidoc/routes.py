"""`/.gate/openapi.json` and `/.gate/schemas/…` on the login host, unless `server.openapi` is false."""

from collections.abc import Callable
from functools import cached_property

import msgspec
from aiohttp import web

from gateway.apidoc.openapi import openapi
from gateway.apidoc.schemas import schemas
from gateway.config.schema import Config
from gateway.hub.pages import problem
from plugins.catalog import Catalog


class ApiDocuments:
    """Serves the documents. They tell of kinds, never of the sensors of this gateway."""

    def __init__(
        self, catalog: Catalog, config: Callable[[], Config], is_login_host: Callable[[web.Request], bool]
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._is_login_host = is_login_host

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the documents."""
        return [
            web.get("/.gate/openapi.json", self.openapi),
            web.get("/.gate/schemas", self.listed),
            web.get("/.gate/schemas/{name}.json", self.schema),
        ]

    async def openapi(self, request: web.Request) -> web.Response:
        """GET `/.gate/openapi.json`."""
        if not self._is_there(request):
            return _missing()
        return _json(openapi(self._catalog, self._config().public_url), "application/openapi+json")

    async def listed(self, request: web.Request) -> web.Response:
        """GET `/.gate/schemas`: the addresses of all schemas."""
        if not self._is_there(request):
            return _missing()
        return _json(
            {"schemas": [f"/.gate/schemas/{name}.json" for name in self._schemas]}, "application/json"
        )

    async def schema(self, request: web.Request) -> web.Response:
        """GET `/.gate/schemas/NAME.json`."""
        found = self._schemas.get(request.match_info["name"]) if self._is_there(request) else None
        return _missing() if found is None else _json(found, "application/schema+json")

    @cached_property
    def _schemas(self) -> dict[str, dict[str, object]]:
        return schemas(self._catalog)

    def _is_there(self, request: web.Request) -> bool:
        return self._config().server.openapi and self._is_login_host(request)


def _missing() -> web.Response:
    return problem(404, "not-found", "Not available", "there is nothing at this address")


def _json(body: object, content_type: str) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        content_type=content_type,
        headers={"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"},
    )

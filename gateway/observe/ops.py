"""The operations listener: `/livez`, `/readyz`, `/metrics` on an address of their own, loopback by default."""

from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.observe.metrics import Metrics


class Component(msgspec.Struct, frozen=True):
    """Readiness of one part. `is_required` false means that the gateway serves without it (and says so)."""

    name: str
    is_ready: bool
    detail: str = ""
    is_required: bool = True


def country_database(without: Sequence[str], serving: int, *, is_refusing: bool) -> Component:
    """Return its readiness. `without` are the workers that cannot read it, `serving` how many there are in all.

    Where they refuse, and nobody else is there, nobody is let in.
    """
    does = "which refuse" if is_refusing else "to which every country is unknown"
    return Component(
        "country database",
        is_ready=not without,
        detail=f"cannot be read by {', '.join(without)}, {does}" if without else "",
        is_required=is_refusing and len(without) >= serving,
    )


def ops_application(metrics: Metrics, components: Callable[[], list[Component]]) -> web.Application:
    """Return the application of the operations listener."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_request: web.Request) -> web.Response:
        parts = components()
        is_ready = all(part.is_ready for part in parts if part.is_required)
        body = {
            "status": "ready" if is_ready else "not-ready",
            "is_degraded": not all(part.is_ready for part in parts),
            "components": msgspec.to_builtins(parts),
        }
        return web.json_response(body, status=200 if is_ready else 503)

    async def metrics_text(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    application = web.Application(client_max_size=1024)
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", metrics_text)
    return application

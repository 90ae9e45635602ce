"""An app that hands out one secret file in every way its makers could think of, and ways to ask a browser for it."""

import base64
import gzip
import zlib

from aiohttp import web

SECRET = b"PK\x03\x04" + b"the secret of the company; " * 400
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"

PAGE = """<!doctype html><html><head><title>Wiki</title></head><body><h1>Wiki</h1><script>
function save(href, name) {
  const link = document.createElement("a");
  link.href = href; if (name !== undefined) link.download = name;
  document.body.append(link); link.click();
}
function keep(data) { save(URL.createObjectURL(new Blob([data])), "secret.bin"); }
</script></body></html>"""

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><script>
const link = document.createElementNS("http://www.w3.org/1999/xhtml", "a");
link.href = "data:application/octet-stream,secret"; link.download = "secret.bin";
document.documentElement.append(link); link.click();
</script></svg>"""

WAYS = {
    "a link to an attachment": "save('/file')",
    "a link to an archive": "save('/zip')",
    "a link to a table": "save('/table')",
    "a link to what has no type": "save('/untyped')",
    "the attribute download at a page": "save('/page', 'secret.html')",
    "the attribute download at a picture": "save('/picture', 'secret.png')",
    "a blob of a script": "keep('secret')",
    "a data address of a script": "save('data:application/octet-stream,secret', 'secret.bin')",
    "fetch, then a blob": "fetch('/file').then((r) => r.ok ? r.blob() : Promise.reject()).then(keep, () => 0)",
    "base64 in JSON, then a blob": "fetch('/json').then((r) => r.json()).then((j) => keep(atob(j.file)))",
    "pieces by Range, then a blob": """Promise.all([0, 1, 2].map((at) => fetch('/zip', {headers: {Range:
        `bytes=${at * 100}-${at * 100 + 99}`}}).then((r) => r.ok ? r.blob() : Promise.reject())))
        .then((all) => keep(new Blob(all)), () => 0)""",
    "a WebSocket, then a blob": """{ const s = new WebSocket(`ws://${location.host}/socket`); s.binaryType = 'blob';
        s.onmessage = (m) => keep(m.data); s.onerror = () => console.error('socket refused'); }""",
    "a form that is answered with a file": """document.body.insertAdjacentHTML('beforeend',
        '<form method=post action=/export></form>'), document.forms[0].submit()""",
    "a frame": "document.body.insertAdjacentHTML('beforeend', '<iframe src=/file></iframe>')",
    "a frame made by a script": """{ const f = document.createElement('iframe'); document.body.append(f);
        const a = f.contentDocument.createElement('a'); a.href = URL.createObjectURL(new Blob(['secret']));
        a.download = 'secret.bin'; f.contentDocument.body.append(a); a.click(); }""",
    "a window made by a script": """{ const w = window.open('about:blank'); const a = w.document.createElement('a');
        a.href = URL.createObjectURL(new Blob(['secret'])); a.download = 'secret.bin';
        w.document.body.append(a); a.click(); }""",
    "another window": "window.open('/file')",
    "a new address": "location.assign('/file')",
    "a redirect to a host that nobody guards": "location.assign('/away')",
    "a link to a host that nobody guards": "fetch('/where').then((r) => r.text()).then((t) => save(t))",
    "a picture with a script": "location.assign('/drawing')",
    "a page that refreshes to a file": "location.assign('/refresh')",
    "a worker's blob": """{ const w = new Worker(URL.createObjectURL(new Blob(["postMessage(new Blob(['secret']))"])));
        w.onmessage = (m) => save(URL.createObjectURL(m.data), 'secret.bin'); }""",
}
"""Scripts that make a browser save something while nothing is limited."""


ATTACHMENT = ("Content-Disposition", "attachment; filename*=UTF-8''secret.zip")
HTML = ("Content-Type", "text/html; charset=utf-8")
TEXT = ("Content-Type", "text/plain")
OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

ANSWERS: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "/": (PAGE.encode(), [HTML]),
    "/page": (PAGE.encode(), [HTML]),
    "/file": (SECRET, [("Content-Type", "application/octet-stream"), ATTACHMENT]),
    "/zip": (SECRET, [("Content-Type", "application/zip")]),
    "/table": (b"a,b\n1,2\n", [("Content-Type", "text/csv")]),
    "/picture": (PNG, [("Content-Type", "image/png")]),
    "/pdf": (PDF, [("Content-Type", "application/pdf")]),
    "/drawing": (SVG.encode(), [("Content-Type", "image/svg+xml")]),
    "/refresh": (PAGE.encode(), [HTML, ("Refresh", "0; url=/file")]),
    "/lie": (SECRET, [HTML]),
    "/lie-gzip": (gzip.compress(SECRET), [HTML, ("Content-Encoding", "gzip")]),
    "/lie-deflate": (zlib.compress(SECRET), [TEXT, ("Content-Encoding", "deflate")]),
    "/lie-br": (b"\x0b\x02\x80secret\x03", [TEXT, ("Content-Encoding", "br")]),
    "/lie-zstd": (b"\x28\xb5\x2f\xfdsecret", [TEXT, ("Content-Encoding", "zstd")]),
    "/lie-json": (SECRET, [("Content-Type", "application/json")]),
    "/lie-png": (SECRET, [("Content-Type", "image/png")]),
    "/inline": (SECRET, [("Content-Type", "application/zip"), ("Content-Disposition", "inline")]),
    "/office": (SECRET, [("Content-Type", OFFICE)]),
    "/bytes": (SECRET, [("Content-Type", "multipart/byteranges; boundary=b")]),
    "/attached-page": (PAGE.encode(), [HTML, ("Content-Disposition", 'Attachment ; filename="a.html"')]),
}


AWAY = web.AppKey("away", str)


def application(away: str) -> web.Application:
    """Return the app; `away` is where it can be reached past the gateway."""
    app = web.Application()
    app[AWAY] = away
    app.on_response_prepare.append(leave_out_type)
    for path in ANSWERS:
        app.router.add_get(path, answer)
    for path, handler in (
        ("/untyped", untyped),
        ("/empty", empty),
        ("/json", encoded),
        ("/socket", socket),
        ("/away", leave),
        ("/where", where),
    ):
        app.router.add_get(path, handler)
    app.router.add_post("/export", export)
    app.router.add_route("*", "/upload", upload)
    return app


async def answer(request: web.Request) -> web.StreamResponse:
    body, headers = ANSWERS[request.path]
    return web.Response(body=body, headers=headers)


async def leave_out_type(request: web.Request, response: web.StreamResponse) -> None:
    if request.path in {"/untyped", "/empty"}:
        del response.headers["Content-Type"]


async def untyped(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(SECRET)
    return response


async def empty(request: web.Request) -> web.StreamResponse:
    """A redirect without a type and in chunks, as Node's `http` sends it."""
    response = web.StreamResponse(status=302, headers={"Location": "/page"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def export(request: web.Request) -> web.StreamResponse:
    await request.read()
    return web.Response(body=SECRET, headers=[ATTACHMENT])


async def encoded(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"file": base64.b64encode(SECRET).decode()})


async def socket(request: web.Request) -> web.StreamResponse:
    made = web.WebSocketResponse()
    await made.prepare(request)
    await made.send_bytes(SECRET)
    await made.receive()
    return made


async def leave(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"{request.app[AWAY]}/file")


async def where(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"{request.app[AWAY]}/file")


async def upload(request: web.Request) -> web.StreamResponse:
    return web.json_response({"bytes": len(await request.read())})

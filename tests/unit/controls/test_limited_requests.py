"""What a limited session may ask for, by the head and where need be the body of the request."""

import json

import pytest

from gateway.config.profiles import NoDownloads, NoUploads, NoWebsocket, ReadOnly
from gateway.controls import graphql
from gateway.controls.effective import Limit
from gateway.controls.requests import added_fields, body_bound, needs_reading, refusing_limit, removed_fields
from tests.unit.controls.limited_samples import DOCUMENT, asks, limits

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
CHUNKED = {"Transfer-Encoding": "chunked"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


@pytest.mark.parametrize(
    ("request_", "passes"),
    [
        (asks(), True),
        (asks(method="HEAD"), True),
        (asks(method="OPTIONS"), True),
        *((asks(method=each), False) for each in ("POST", "PUT", "PATCH", "DELETE")),
        *((asks(method=each), False) for each in ("PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK")),
        *((asks(method=each), False) for each in ("BIND", "ACL", "MKCALENDAR", "CHECKOUT", "PURGE", "get")),
        (asks(method="PROPFIND"), False),
        (asks(body=b"x=1", headers=FORM), False),
        (asks(headers=UPGRADE), False),
        (asks(headers={"X-HTTP-Method-Override": "DELETE"}), False),
        (asks(headers={"X-HTTP-Method-Override": "GET"}), True),
        (asks(headers={"x-http-method": "put"}), False),
        (asks(headers={"X-Method-Override": "PATCH"}), False),
        (asks("/?_method=delete"), False),
        (asks("/?%5Fmethod=delete"), False),
        (asks("/?_METHOD=DELETE"), False),
        (asks("/?_method=get"), True),
        (asks("/?a=1;_method=delete"), False),
        (asks("/?x-http-method-override=PUT"), False),
        (asks("/?method=delete"), True),
        (asks("/graphql?query=mutation%7Bdrop%7D"), False),
        (asks("/graphql?query=query+A%7Ba%7D+mutation%7Bdrop%7D"), False),
        (asks("/graphql?query=%23hi%0Amutation%20X%7Bdrop%7D"), False),
        (asks("/graphql?query=%7Bmutation%7D"), True),
        (asks("/graphql?query=mutation&query=mutation%7Bdrop%7D"), False),
        (asks("/search?query=mutation"), True),
        (asks("/search?query=how+to+do+a+mutation+%7B"), True),
        (asks("/search", "POST", FORM, b"q=1"), True),
        (asks("/searching", "POST", FORM, b"q=1"), False),
        (asks("/search;v=1", "POST", FORM, b"q=1"), False),
    ],
)
def test_read_only(request_, passes: bool) -> None:
    limit = refusing_limit(limits(read_only=ReadOnly(allow=("/search",))), request_)
    assert limit is (None if passes else Limit.READ_ONLY)


def test_webdav_may_be_read_where_its_methods_are_allowed() -> None:
    effective = limits(read_only=ReadOnly(methods=("GET", "HEAD", "PROPFIND", "REPORT")))
    xml = {"Content-Type": "text/xml"}
    assert refusing_limit(effective, asks("/dav", "PROPFIND")) is None
    assert refusing_limit(effective, asks("/dav", "PROPFIND", xml, b"<propfind/>")) is Limit.READ_ONLY
    assert refusing_limit(effective, asks("/dav", "PROPPATCH")) is Limit.READ_ONLY
    assert refusing_limit(effective, asks("/dav", "OPTIONS")) is Limit.READ_ONLY


QUERY = {"query": 'query A { a(x: "mutation { b }") } fragment F on T { c }'}
MUTATION = {"query": "mutation { drop }"}


@pytest.mark.parametrize(
    ("body", "content_type", "reads"),
    [
        (json.dumps(QUERY), "application/json", True),
        (json.dumps(QUERY), "Application/JSON; charset=utf-8", True),
        (json.dumps([QUERY, QUERY]), "application/json", True),
        (json.dumps(MUTATION), "application/json", False),
        (json.dumps([QUERY, MUTATION]), "application/json", False),
        (json.dumps({"query": "{ a } mutation M { b }", "operationName": "M"}), "application/json", False),
        (json.dumps({"query": "subscription { a }"}), "application/json", False),
        (json.dumps({"query": "#{\nmutation { a }"}), "application/json", False),
        (json.dumps({"query": '"""{"""mutation { a }'}), "application/json", False),
        (json.dumps({"query": "\ufeffmutation { a }"}), "application/json", False),
        (json.dumps({"query": ",,mutation { a }"}), "application/json", False),
        (json.dumps({"query": "{ a"}), "application/json", False),
        (json.dumps({"query": "} mutation { a }"}), "application/json", False),
        (json.dumps({"query": ""}), "application/json", False),
        (json.dumps({"query": 1}), "application/json", False),
        (json.dumps({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}), "application/json", False),
        (json.dumps({"id": "stored"}), "application/json", False),
        ('{"query": "{ a }", "query": "mutation { b }"}', "application/json", False),
        ('{"query": "{ a }", "Query": "mutation { b }"}', "application/json", True),
        (json.dumps([]), "application/json", False),
        (json.dumps([QUERY] * 101), "application/json", False),
        ("[" * 5000, "application/json", False),
        ("{ a }", "application/graphql", True),
        ("mutation { a }", "application/graphql", False),
        ("query=%7Ba%7D", "application/x-www-form-urlencoded", False),
        ("--b\r\n\r\n{}\r\n--b--", "multipart/form-data; boundary=b", False),
        (json.dumps(QUERY), "", False),
        ("\udcff", "application/json", False),
    ],
)  # fmt: skip
def test_graphql_queries_pass_and_nothing_else(body: str, content_type: str, reads: bool) -> None:
    raw = body.encode("utf-8", "surrogateescape")
    assert graphql.body_reads_only(raw, content_type.encode() or None) is reads


def test_graphql_is_read_at_its_own_path_only() -> None:
    effective = limits(read_only=ReadOnly(graphql=("/graphql",)))
    query = asks("/graphql", "POST", JSON, b"{}")
    assert refusing_limit(effective, query) is None
    assert needs_reading(effective, query)
    assert refusing_limit(effective, asks("/api", "POST", JSON, b"{}")) is Limit.READ_ONLY
    assert refusing_limit(effective, asks("/graphql", "PUT", JSON, b"{}")) is Limit.READ_ONLY
    assert refusing_limit(effective, asks("/graphql", "POST")) is Limit.READ_ONLY
    assert not needs_reading(limits(read_only=ReadOnly(allow=("/graphql",))), query)


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        ("/graphql", True),
        ("/graphql?query=%7Ba%7D&variables=%7B%7D", True),
        ("/graphql?query=subscription%7Ba%7D", False),
        ("/graphql?query=%7Ba%7D&query=%7Bb%7D", False),
        ("/graphql?extensions=%7B%22persistedQuery%22%3A%7B%7D%7D", False),
        ("/graphql?id=stored", False),
        ("/other?id=stored", True),
    ],
)
def test_an_address_of_a_graphql_endpoint_is_read_too(target: str, passes: bool) -> None:
    limit = refusing_limit(limits(read_only=ReadOnly(graphql=("/graphql",))), asks(target))
    assert limit is (None if passes else Limit.READ_ONLY)


@pytest.mark.parametrize(
    ("request_", "passes"),
    [
        (asks(), True),
        (asks(method="POST"), True),
        (asks(method="PUT"), False),
        (asks(method="PUT", headers=JSON, body=b"{}"), False),
        (asks(method="POST", headers=FORM, body=b"a=1"), True),
        (asks(method="PATCH", headers=JSON, body=b"{}"), True),
        (asks(method="POST", headers={"Content-Type": "application/vnd.api+json"}, body=b"{}"), True),
        (asks(method="POST", headers=JSON, body=b"x" * 101), False),
        (asks(method="POST", headers={"Content-Type": "multipart/form-data; boundary=b"}, body=b"x"), False),
        (asks(method="POST", headers={"Content-Type": "Multipart/Related"}, body=b"x"), False),
        (asks(method="POST", headers={"Content-Type": "application/octet-stream"}, body=b"x"), False),
        (asks(method="POST", headers={"Content-Type": "application/offset+octet-stream"}, body=b"x"), False),
        (asks(method="POST", body=b"x"), False),
        (asks(method="POST", headers=JSON | {"Content-Encoding": "gzip"}, body=b"x"), False),
        (asks(method="POST", headers=JSON | CHUNKED), True),
        (asks(headers=UPGRADE), False),
        (asks("/avatar", "PUT", {"Content-Type": "image/png"}, b"x" * 900), True),
    ],
)
def test_no_uploads(request_, passes: bool) -> None:
    limit = refusing_limit(limits(no_uploads=NoUploads(max_bytes=100, allow=("/avatar",))), request_)
    assert limit is (None if passes else Limit.NO_UPLOADS)


def test_bodies_of_untold_length_are_bounded() -> None:
    effective = limits(no_uploads=NoUploads(max_bytes=100, allow=("/avatar",)))
    chunked = JSON | CHUNKED
    assert body_bound(effective, asks("/", "POST", chunked)) == 100
    assert body_bound(effective, asks("/avatar", "POST", chunked)) is None
    assert refusing_limit(limits(no_uploads=NoUploads()), asks("/", "POST", chunked)) is Limit.NO_UPLOADS


@pytest.mark.parametrize(
    ("target", "is_hidden"),
    [
        ("/admin", True),
        ("/admin/", True),
        ("/admin/users", True),
        ("/ADMIN/users", True),
        ("/Admin", True),
        ("/%61dmin/x", True),
        ("//admin/x", True),
        ("/./admin/x", True),
        ("/wiki/../admin/x", True),
        ("/wiki/%2e%2e/admin/x", True),
        ("/admin;v=1/x", True),
        ("/admin./x", True),
        ("/admin%20/x", True),
        ("/admin%2fx", True),
        ("/%2561dmin/x", True),
        ("/administration", False),
        ("/wiki/admin", False),
        ("/?p=/admin", False),
    ],
)
def test_hidden_paths(target: str, is_hidden: bool) -> None:
    limit = refusing_limit(limits(hidden_paths=("/admin/**",)), asks(target))
    assert limit is (Limit.HIDDEN_PATH if is_hidden else None)


@pytest.mark.parametrize(
    ("place", "is_hidden"),
    [("/admin/x", True), ("/wiki/%2e%2e/admin/x", True), ("https://else/admin", True), ("/wiki/x", False)],
)
def test_nothing_is_moved_to_hidden_paths(place: str, is_hidden: bool) -> None:
    request = asks("/wiki/a", "MOVE", {"Destination": place})
    assert refusing_limit(limits(hidden_paths=("/admin/**",)), request) is (
        Limit.HIDDEN_PATH if is_hidden else None
    )


def test_websockets_but_for_listed_ones() -> None:
    effective = limits(no_websocket=NoWebsocket(allow=("/live/*",)))
    assert refusing_limit(effective, asks("/ws", headers=UPGRADE)) is Limit.NO_WEBSOCKET
    assert refusing_limit(effective, asks("/live/1", headers=UPGRADE)) is None
    assert refusing_limit(effective, asks("/ws")) is None
    assert refusing_limit(limits(bytes_per_hour=1), asks("/live/1", headers=UPGRADE)) is Limit.RATE


def test_what_cannot_be_looked_into_is_no_way_out() -> None:
    """Under no-downloads: no WebSocket, no request by which browsers save, no service worker."""
    effective = limits(no_downloads=NoDownloads(allow=("/free/**",)))
    saving = {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "no-cors"}
    for headers in (UPGRADE, saving, {"Service-Worker": "script"}):
        assert refusing_limit(effective, asks("/a", headers=headers)) is Limit.NO_DOWNLOADS
    for headers in (UPGRADE, saving):
        assert refusing_limit(effective, asks("/free/a", headers=headers)) is None
    for headers in (DOCUMENT, {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}):
        assert refusing_limit(effective, asks("/a", headers=headers)) is None


def test_no_pieces_nothing_packed_and_nothing_kept_is_asked_for() -> None:
    assert removed_fields(limits(no_downloads=NoDownloads())) == {b"range", b"if-range"}
    assert removed_fields(limits(no_store=True)) == {b"if-none-match", b"if-modified-since"}
    assert removed_fields(limits(read_only=ReadOnly())) == frozenset()
    identity = ((b"Accept-Encoding", b"identity"),)
    assert added_fields(limits(no_downloads=NoDownloads()), is_document=False) == identity
    assert added_fields(limits(no_store=True, banner="gateway"), is_document=True) == identity
    assert added_fields(limits(no_store=True, banner="gateway"), is_document=False) == ()

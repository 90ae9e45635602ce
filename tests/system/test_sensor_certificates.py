"""A sensor whose sender proves itself by a TLS client certificate, at the real listener and behind a proxy."""

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.system.stack import LoopbackResolver, Stack, running_stack

pytestmark = pytest.mark.op

BEARER = "auth: {scheme: bearer, secrets: [{env: GATE_SENSOR_SECRET}]}"
BODY = {"serial": "SN-1", "kind": "heartbeat", "condition": "hb", "state": "open"}


def issued(ca: trustme.CA, name: str, folder: Path) -> tuple[Path, bytes]:
    """Return the PEM file of a certificate with its key, and the certificate as DER."""
    leaf = ca.issue_cert(name)
    path = folder / f"{name}.pem"
    leaf.private_key_and_cert_chain_pem.write_to_path(path)
    chain = x509.load_pem_x509_certificates(leaf.cert_chain_pems[0].bytes())
    return path, chain[0].public_bytes(Encoding.DER)


async def deliver(stack: Stack, tls: ssl.SSLContext | bool, **headers: str) -> tuple[int, dict[str, Any]]:
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=tls)
    url = stack.url("/.gate/hooks/edr", "login")
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(url, json=BODY, headers=headers) as response,
    ):
        return response.status, await response.json()


def sensor_auth(ca: Path, *names: str, header: bool = False) -> str:
    text = f"auth: {{scheme: client-certificate, ca: {ca}, names: [{', '.join(names)}]"
    return text + (", header: true}" if header else "}")


async def test_the_certificate_of_the_connection_tells_the_sender() -> None:
    async with running_stack(scheme="https", starts=False) as stack:
        web, own, foreign = trustme.CA(), trustme.CA(), trustme.CA()
        ca, both = stack.folder / "sensor-ca.pem", stack.folder / "client-ca.pem"
        own.cert_pem.write_to_path(ca)
        both.write_bytes(own.cert_pem.bytes() + foreign.cert_pem.bytes())
        server = web.issue_cert("*.localhost", "login.localhost")
        server.private_key_pem.write_to_path(stack.folder / "key.pem")
        server.cert_chain_pems[0].write_to_path(stack.folder / "cert.pem")
        tls = (
            f"  tls: {{certificates: [{{cert: {stack.folder}/cert.pem, key: {stack.folder}/key.pem}}], "
            f"client_certificates: optional, client_ca: {both}}}"
        )
        stack.write_config(server=tls, **{BEARER: sensor_auth(ca, "am.corp.example")})
        stack.tls = ssl.create_default_context()
        web.configure_trust(stack.tls)
        await stack.start()
        answers = {}
        for who, name in (
            (own, "am.corp.example"),
            (own, "other.corp.example"),
            (foreign, "am.corp.example"),
        ):
            context = ssl.create_default_context()
            web.configure_trust(context)
            context.load_cert_chain(issued(who, name, stack.folder)[0])
            answers[who is own, name] = await deliver(stack, context)
        status, answer = answers[True, "am.corp.example"]
        assert (status, answer["enforced"]) == (200, True)
        status, answer = answers[True, "other.corp.example"]
        assert (status, answer["code"]) == (401, "credential-mismatch")
        assert "other.corp.example" in answer["detail"]
        status, answer = answers[False, "am.corp.example"]
        assert (status, answer["code"]) == (401, "credential-mismatch")
        status, answer = await deliver(stack, stack.tls)
        assert (status, answer["code"]) == (401, "credential-missing")
        forged = base64.b64encode(issued(own, "am.corp.example", stack.folder)[1]).decode()
        status, answer = await deliver(stack, stack.tls, **{"X-Gate-Evidence": forged})
        assert (status, answer["code"]) == (401, "credential-missing")


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_proxy_passes_the_certificate_on_only_when_it_is_trusted(is_trusted: bool) -> None:
    async with running_stack(starts=False, workers=0) as stack:
        own = trustme.CA()
        ca = stack.folder / "sensor-ca.pem"
        own.cert_pem.write_to_path(ca)
        trusted = "127.0.0.1/32" if is_trusted else "192.0.2.1/32"
        stack.write_config(
            server=f"  trusted_proxies: [{trusted}]",
            **{BEARER: sensor_auth(ca, "am.corp.example", header=True)},
        )
        await stack.start()
        der = issued(own, "am.corp.example", stack.folder)[1]
        header = {"Client-Cert": f":{base64.b64encode(der).decode()}:"}
        assert (await deliver(stack, stack.tls, **header))[0] == (200 if is_trusted else 401)
        assert (await deliver(stack, stack.tls))[0] == 401
        assert (await deliver(stack, stack.tls, **{"Client-Cert": ":bm8=:"}))[0] == 401


async def test_what_cannot_work_is_refused_on_load() -> None:
    async with running_stack(starts=False) as stack:
        ca = stack.folder / "sensor-ca.pem"
        trustme.CA().cert_pem.write_to_path(ca)
        for auth, said in (
            (sensor_auth(ca, "am.corp.example"), "no client certificate can arrive"),
            (sensor_auth(ca, header=True), "`names` says who may send"),
            (sensor_auth(ca, "x", header=True), "needs `server.trusted_proxies`"),
            (sensor_auth(stack.folder / "none.pem", "x", header=True), "none.pem"),
        ):
            stack.write_config(**{BEARER: auth})
            code, text = await stack.cli("check", "--config", str(stack.config_path))
            assert code != 0
            assert said in text, json.dumps(text)

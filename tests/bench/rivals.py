"""The rivals, each as its manual would have it: one worker, keep-alive to the upstream, no access log.

Every rival passes `Host` on and adds `X-Forwarded-For`, as the gateway does.
"""

import os
import shutil
import sys
from pathlib import Path

from tests.bench.processes import BenchFault, Processes, Server

_NGINX = """\
daemon off; {user}
worker_processes {workers}; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; server_tokens off; tcp_nodelay on; sendfile on;
  keepalive_timeout 3600s; keepalive_requests 1000000000;
  client_max_body_size 0; open_file_cache max=100 inactive=3600s; open_file_cache_valid 3600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {body}
}}
"""

_UPSTREAM_BODY = """
  server {{ listen 127.0.0.1:{port}; root {root}; default_type application/octet-stream; }}
  server {{ listen 127.0.0.1:{auth_port}; location / {{ return 200 ""; }} }}
"""

_PROXY_BODY = """
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  upstream auth {{ server 127.0.0.1:{auth}; keepalive 64; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
  server {{
    listen 127.0.0.1:{port}{ssl};
    {certificate}
    location / {{ {authenticated} {streams} proxy_pass http://app; }}
    location = /_auth {{
      internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://auth;
    }}
  }}
"""

_CADDY = """\
{{
  admin off
  persist_config off
  auto_https off
  default_sni app.localhost
  log {{
    level ERROR
  }}
}}
{scheme}://{host}:{port} {{
  bind 127.0.0.1
  {tls}
  {forward_auth}
  reverse_proxy 127.0.0.1:{upstream}
}}
"""

_ENVOY = """\
admin: {{}}
static_resources:
  listeners:
  - name: front
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          codec_type: HTTP1
          use_remote_address: true
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: app}}}}]}}
          http_filters:
{ext_authz}          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
{tls}
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
  - name: auth
    type: STATIC
    load_assignment:
      cluster_name: auth
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {auth}}}}}}}
"""

_ENVOY_AUTHZ = """\
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              http_service:
                server_uri: {{uri: "http://127.0.0.1:{auth}", cluster: auth, timeout: 1s}}
                authorization_request: {{allowed_headers: {{patterns: [{{exact: cookie}}]}}}}
"""

_ENVOY_TLS = """\
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - {{certificate_chain: {{filename: "{cert}"}}, private_key: {{filename: "{key}"}}}}
"""


class Rivals:
    """Starts rivals in front of one upstream. `cert` and `key` are PEM files for the TLS rows."""

    def __init__(
        self, processes: Processes, *, upstream: int, auth: int, cert: Path, key: Path, cores: tuple[int, ...]
    ) -> None:
        self._processes = processes
        self._upstream = upstream
        self._auth = auth
        self._cert = cert
        self._key = key
        self._cores = cores

    def nginx(
        self,
        port: int,
        *,
        with_auth: bool = False,
        with_tls: bool = False,
        workers: int = 1,
        streams: bool = False,
        cores: tuple[int, ...] = (),
        upstream: int | None = None,
    ) -> Server:
        """Start nginx as a proxy; `streams` neither spools a body to disk nor collects an upload first."""
        certificate = f"ssl_certificate {self._cert}; ssl_certificate_key {self._key};" if with_tls else ""
        body = _PROXY_BODY.format(
            port=port,
            upstream=upstream or self._upstream,
            auth=self._auth,
            ssl=" ssl" if with_tls else "",
            certificate=certificate,
            authenticated="auth_request /_auth;" if with_auth else "",
            streams="proxy_request_buffering off; proxy_max_temp_file_size 0;" if streams else "",
        )
        return start_nginx(self._processes, f"nginx {port}", body, cores or self._cores, workers=workers)

    def caddy(self, port: int, *, with_auth: bool = False, with_tls: bool = False) -> Server:
        """Start Caddy with one processor for its goroutines. Raises `BenchFault` when it is not installed."""
        folder = self._processes.folder / f"caddy-{port}"
        folder.mkdir()
        file = folder / "Caddyfile"
        file.write_text(
            _CADDY.format(
                scheme="https" if with_tls else "http",
                host="app.localhost" if with_tls else "",
                port=port,
                upstream=self._upstream,
                tls=f"tls {self._cert} {self._key}" if with_tls else "",
                forward_auth=f"forward_auth 127.0.0.1:{self._auth} {{\n    uri /auth\n  }}"
                if with_auth
                else "",
            )
        )
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        return self._processes.start(
            f"caddy {port}",
            [installed("caddy"), "run", "--config", file, "--adapter", "caddyfile"],
            cores=self._cores,
            environment={"GOMAXPROCS": "1", **home},
        )

    def envoy(self, port: int, *, with_auth: bool = False, with_tls: bool = False) -> Server:
        """Start Envoy with one worker thread. Raises `BenchFault` when it is not installed."""
        file = self._processes.folder / f"envoy-{port}.yaml"
        file.write_text(
            _ENVOY.format(
                port=port,
                upstream=self._upstream,
                auth=self._auth,
                ext_authz=_ENVOY_AUTHZ.format(auth=self._auth) if with_auth else "",
                tls=_ENVOY_TLS.format(cert=self._cert, key=self._key) if with_tls else "",
            )
        )
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return self._processes.start(
            f"envoy {port}", [installed("envoy"), "-c", file, *options], cores=self._cores
        )

    def aiohttp(self, port: int) -> Server:
        """Start the reference proxy: aiohttp's server and client, joined in the obvious way."""
        return self._processes.module(
            "aiohttp", "tests.bench.aiohttp_proxy", port, self._upstream, cores=self._cores
        )


def start_nginx(
    processes: Processes, name: str, body: str, cores: tuple[int, ...], *, workers: int = 1
) -> Server:
    """Start an nginx with these `server` blocks. Raises `BenchFault` when it is not installed."""
    folder = processes.folder / name.replace(" ", "-")
    folder.mkdir()
    file = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(_NGINX.format(user=user, workers=workers, folder=folder, body=body))
    return processes.start(name, [installed("nginx"), "-p", folder, "-c", file], cores=cores)


def start_upstream(processes: Processes, port: int, auth_port: int, cores: tuple[int, ...]) -> Server:
    """Start the upstream of all: nginx with a static file of 1 KiB and one of 256 MiB, and a static answer for `auth`.

    That answer is an empty 200: nginx and Caddy take any 2xx for a yes, Envoy only 200.
    """
    root = processes.folder / "www"
    root.mkdir()
    (root / "1k").write_bytes(b"x" * 1024)
    with (root / "256m").open("wb") as file:
        file.truncate(256 << 20)
    return start_nginx(
        processes, "upstream", _UPSTREAM_BODY.format(port=port, auth_port=auth_port, root=root), cores
    )


def installed(command: str) -> str:
    """Return the path of a program, of our own environment first. Raises `BenchFault`."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    found = shutil.which(command, path=places)
    if found is None:
        raise BenchFault(f"not measured: `{command}` is not installed")
    return found

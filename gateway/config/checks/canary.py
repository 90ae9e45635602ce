"""Checks of the canary."""

from gateway.canary.builtin import HOST, NAME
from gateway.config.checks.forms import parse_listen
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import App, Canary, ClientCertificates, Sensor, Server, Tls


def check_canary(checks: Checks, path: KeyPath, canary: Canary) -> None:
    """Check that a canary can enter, and that its names are free."""
    checks.positive(path, canary, "every", "timeout")
    address = canary.address
    if address is not None and not address.startswith("unix:/") and parse_listen(address) is None:
        message = f"{shown(address)} is not `address:port`"
        checks.fault(Code.URL, (*path, "address"), message, "`127.0.0.1:8443` or `unix:/path`")
    server = next((each for _, each in checks.all(Server)), Server())
    if address is None and server.listen == "systemd":
        message = "with `listen: systemd` the canary cannot know where to enter"
        checks.fault(Code.MISSING_KEY, path, message, "name it by `address`")
    for _, tls in checks.all(Tls):
        if tls.client_certificates is ClientCertificates.REQUIRED:
            message = "the canary has no client certificate, and the listener requires one"
            checks.fault(Code.DEVICE, path, message, "`client_certificates: optional`, and `required` by app")
    named = [(where, app.name) for where, app in checks.all(App)]
    named += [(where, sensor.name) for where, sensor in checks.all(Sensor)]
    for where, name in named:
        if name == NAME:
            checks.fault(
                Code.DUPLICATE_NAME, (*where, "name"), f"`{NAME}` is the name of the built-in canary"
            )
    for where, app in checks.all(App):
        if app.host.rstrip(".") == HOST:
            checks.fault(Code.ADDRESS_CLASH, (*where, "host"), f"{shown(HOST)} is the host of the canary")

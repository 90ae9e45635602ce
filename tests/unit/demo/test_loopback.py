"""The demo reaches this machine and nothing else, and says so when a port is not to be had."""

import socket

import aiohttp
import pytest

from gateway.cli import main
from gateway.demo.loopback import LoopbackResolver, free_port, is_free, loopback_client


@pytest.mark.parametrize("name", ["localhost", "app.localhost", "a.b.localhost"])
async def test_names_below_localhost_are_loopback(name: str) -> None:
    (found,) = await LoopbackResolver().resolve(name, 80)
    assert (found["host"], found["port"]) == ("127.0.0.1", 80)


@pytest.mark.parametrize("name", ["example.org", "notlocalhost", "localhost.example.org"])
async def test_other_names_are_refused(name: str) -> None:
    async with loopback_client() as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(f"http://{name}/")


def test_taken_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`demo --port` of a taken port, or of none at all, ends with 1 and a sentence."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
        assert main(["demo", "--port", str(port)]) == 1
    assert main(["demo", "--check", "--port", "80000"]) == 1
    assert "choose another" in capsys.readouterr().out
    assert is_free(free_port())

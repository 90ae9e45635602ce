"""An app that gives no answer: people see a page, programs a problem document, and the code in it can be looked up."""

import json
import re

import pytest

from tests.system.stack import Person, Stack, running_stack

pytestmark = pytest.mark.op

CODE = re.compile(r"[A-Z0-9]{4}-[A-Z0-9]{4}")


async def test_the_reference_code_of_a_failure_opens_the_decision() -> None:
    async with running_stack(workers=1, starts=False) as stack:
        upstream = "host: wiki.localhost\n    upstream: http://127.0.0.1:"
        stack.write_config(**{f"{upstream}{stack.app_port}": f"{upstream}1"})
        await stack.start()
        await stack.signal_risk("closed", event="1", kind="heartbeat")
        url = stack.url("/wanted?secret=1", "wiki")
        person = Person()
        try:
            assert (await person.get(stack.url("/", "wiki"), navigate=False))[0] == 401
            status, _, page = await person.sign_in(url)
            assert status == 502
            shown = CODE.search(page)
            assert shown is not None
            status, _, text = await person.get(url, navigate=False)
            assert status == 502
            problem = json.loads(text)
        finally:
            await person.close()
        assert problem["code"] == "upstream-unreachable"
        for code in (shown[0], problem["reference"]):
            await check_explained(stack, code)


async def check_explained(stack: Stack, code: str) -> None:
    """The record says who was admitted and that the app failed; the log has the same code, and no query."""
    exit_code, explained = await stack.cli("explain", code, "--config", str(stack.config_path))
    assert exit_code == 0
    assert "admitted, but the app gave no usable answer (upstream-unreachable)" in explained
    assert "alice@corp.example" in explained
    assert "wiki: GET /wanted" in explained
    [line] = [each for each in stack.events("app-failed") if each["reference"] == code]
    assert (line["app"], line["fault"], line["path"]) == ("wiki", "upstream-unreachable", "/wanted")
    assert "secret=1" not in explained + stack.log()

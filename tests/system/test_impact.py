"""`posturegate impact`: what a draft would change for who is signed in at a running gateway."""

import json

import pytest

from tests.system.stack import Person, running_stack

pytestmark = pytest.mark.op


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_a_draft_that_blocks_and_one_that_restores() -> None:
    async with running_stack() as stack:
        await stack.signal_risk("open", event="e-start", kind="heartbeat", condition="hb", title="")
        alice = Person()
        try:
            status, _, _ = await alice.sign_in(stack.url("/page"))
            assert status == 200
            now = stack.config_path.read_text()
            draft = stack.folder / "draft.yaml"

            draft.write_text(now)
            code, said = await stack.cli("impact", str(draft), "--config", str(stack.config_path))
            assert code == 0, said
            assert said.startswith(
                "0 of 1 devices would have another compliance state; 0 people would lose an app"
            )

            rule = "        - {type: fact, name: disk, fact: disk_encrypted, equals: false, title: Disk}\n"
            draft.write_text(now.replace("access:\n", f"{rule}access:\n"))
            code, said = await stack.cli(
                "impact", str(draft), "--config", str(stack.config_path), "--fail-on", "0", "--replay", "1h"
            )
            assert code == 4, said
            assert "1 of 1 devices would have another compliance state; 1 person would lose an app" in said
            assert "compliant -> noncompliant" in said
            assert "at notes, device" in said
            assert "at wiki, device" in said

            block = "    - {name: closed, apps: [wiki], decision: block}\n"
            draft.write_text(now.rstrip() + "\n" + block)
            code, said = await stack.cli(
                "impact", str(draft), "--config", str(stack.config_path), "--markdown"
            )
            assert code == 0, said
            assert "* alice@corp.example at wiki" in said or " at wiki, device" in said
            assert "at notes" not in said

            code, said = await stack.cli(
                "impact", str(draft), "--config", str(stack.config_path), "--json", "--replay", "1h"
            )
            told = json.loads(said)
            assert [each["app"] for each in told["impact"]["access_changes"]] == ["wiki"]
            assert told["impact"]["sessions"] == 1
            assert told["replay"]["records"] >= 1
            assert told["replay"]["changed"] == 0

            await stack.signal_risk("open", event="e-bad")
            lenient = now.replace("max: low, title", "max: high, title")
            draft.write_text(lenient)
            code, said = await stack.cli("impact", str(draft), "--config", str(stack.config_path))
            assert code == 0, said
            assert "noncompliant -> compliant" in said
            assert "1 gain one" in said
        finally:
            await alice.close()


async def test_what_cannot_be_compared_is_said() -> None:
    async with running_stack(starts=False) as stack:
        path = str(stack.config_path)
        code, said = await stack.cli("impact", path, "--config", path)
        assert code == 1
        assert "the gateway has not run with this configuration" in said
        code, said = await stack.cli("impact", path, "--config", path, "--replay", "yesterday")
        assert code == 2
        code, said = await stack.cli("impact", path + "x", "--config", path)
        assert code == 2

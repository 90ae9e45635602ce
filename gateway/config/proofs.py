"""The last step of loading: the tests and assertions of the configuration hold, or it is not used."""

from compliance.analysis.questions import Answer, Verdict
from gateway.config.decode import Decoder
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import Config
from gateway.decision.analysis import analysis_of
from gateway.decision.analysis import prove as prove_nevers
from gateway.decision.hypothetical import told
from gateway.decision.policy_tests import MAX_TESTS, run_tests
from gateway.hub.runtime import Runtime, make_runtime

MAX_NEVERS = 200
"""Most assertions of one configuration: they are proven on every load."""


def prove(decoder: Decoder, config: Config) -> None:
    """Report every test that fails, and every assertion that does not hold.

    Called only for a configuration without another fault.
    """
    _refuse_impossible(decoder, config)
    if not config.tests and not config.never:
        return
    if len(config.tests) > MAX_TESTS:
        _too_many(decoder, Code.POLICY_TEST, "tests", len(config.tests), MAX_TESTS)
    elif len(config.never) > MAX_NEVERS:
        _too_many(decoder, Code.NEVER, "never", len(config.never), MAX_NEVERS)
    else:
        meaning = make_runtime(config, "")
        _run_tests(decoder, meaning)
        for at, answer in enumerate(prove_nevers(meaning, config.never)):
            _report(decoder, at, answer)


def _refuse_impossible(decoder: Decoder, config: Config) -> None:
    """Report policies whose conditions contradict each other."""
    at = {policy.name: number for number, policy in enumerate(config.access.policies)}
    for policy, blamed in analysis_of(config).impossible():
        message = f"policy {shown(policy.name)} can never match: its conditions contradict each other"
        hint = f"without {' or without '.join(f'`{key}`' for key in blamed)} it could" if blamed else ""
        hint = hint or "compare `include`, `exclude` and `when`"
        where: KeyPath = ("access", "policies", at[policy.name])
        decoder.fault(Code.ACCESS_POLICY, (*where, "when", blamed[0]) if blamed else where, message, hint)


def _too_many(decoder: Decoder, code: Code, key: str, count: int, most: int) -> None:
    message = f"{count} of them; they are checked on every load, so that at most {most} are taken"
    decoder.fault(code, (key,), message)


def _run_tests(decoder: Decoder, meaning: Runtime) -> None:
    for at, run in enumerate(run_tests(meaning, meaning.config.tests)):
        for fault in run.faults:
            message = f"test {shown(run.test.name)} fails: {fault}"
            decoder.fault(Code.POLICY_TEST, ("tests", at), message, "`posturegate test -v` shows each test")


def _report(decoder: Decoder, at: int, answer: Answer) -> None:
    if answer.example is not None:
        message = (
            f"{shown(answer.never)} does not hold: policy {shown(answer.policy)} lets in, for example,"
            f" {told(answer.example)}"
        )
        hint = "`posturegate analyze` shows the whole request; `posturegate what-if` tries others"
        decoder.fault(Code.NEVER, ("never", at), message, hint)
    elif answer.verdict is Verdict.UNDECIDED:
        message = f"{shown(answer.never)} could be neither proven nor refuted"
        decoder.fault(Code.NOT_DECIDED, ("never", at), message, "name its apps, or fewer conditions")

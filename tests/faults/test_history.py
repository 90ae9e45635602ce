"""The judge: each rule is broken by a history made for it, and by no honest one."""

import pytest

from tests.faults.history import (
    KILLED_MOST,
    RECEIVED_MOST,
    TOLD_MOST,
    Change,
    History,
    Request,
    Stream,
    judge,
    spans,
)

RAISE = Change("d", is_raise=True, sent_at=10.0, answered_at=11.0)
LOWER = Change("d", is_raise=False, sent_at=20.0, answered_at=21.0)
OPEN = Change("d", is_raise=False, sent_at=0.0, answered_at=1.0)
CHANGES = (OPEN, RAISE, LOWER)


def request(began_at: float, ended_at: float, status: int, **options: object) -> Request:
    return Request("d", "app", began_at, ended_at, status, **options)


def stream(
    *pieces: tuple[float, float, int], ended_at: float | None = 12.0, opened_at: float = 5.0
) -> Stream:
    return Stream("d", "app", "events", opened_at, ended_at, pieces, "ConnectionResetError")


def rules(*requests: Request, streams: tuple[Stream, ...] = ()) -> list[str]:
    return [violation.rule for violation in judge(History(CHANGES, requests, streams))]


def test_certain_times_lie_between_an_answer_and_the_next_change() -> None:
    assert [tuple(span) for span in spans(CHANGES, "d")] == [
        (False, 1.0, 10.0),
        (True, 11.0, 20.0),
        (False, 21.0, float("inf")),
    ]


def test_an_honest_history_breaks_nothing() -> None:
    honest = (request(2, 3, 200), request(9.9, 11.5, 200), request(12, 13, 403), request(22, 23, 200))
    pieces = ((9.0, 9.1, 10), (10.9, 11.2, 10))
    assert (
        rules(*honest, streams=(stream(*pieces), stream((21.5, 21.6, 9), opened_at=21.2, ended_at=None)))
        == []
    )


@pytest.mark.parametrize("status", [200, 101])
def test_an_app_that_answers_within_a_closed_time_breaks_fresh(status: int) -> None:
    assert rules(request(11.001, 11.2, status)) == ["FRESH"]


def test_a_piece_produced_within_a_closed_time_breaks_stream_however_late_it_is_read() -> None:
    assert rules(streams=(stream((11.001, 11.1, 1)),)) == ["STREAM"]
    assert rules(streams=(stream((12.0, 25.0, 1), ended_at=26.0),)) == ["STREAM"]


def test_more_than_buffers_hold_after_the_border_breaks_stream() -> None:
    assert rules(streams=(stream((10.5, 11.5, RECEIVED_MOST)),)) == []
    assert rules(streams=(stream((10.5, 11.5, RECEIVED_MOST + 1)),)) == ["STREAM"]
    told = stream((10.5, 11.5, TOLD_MOST))._replace(end="code 4403")
    assert rules(streams=(told,)) == []
    assert rules(streams=(told._replace(pieces=((10.5, 11.5, TOLD_MOST + 1),)),)) == ["STREAM"]
    killed = stream((10.5, 11.5, KILLED_MOST))._replace(end="complete")
    assert rules(streams=(killed,)) == []
    assert rules(streams=(killed._replace(pieces=((10.5, 11.5, KILLED_MOST + 1),)),)) == ["STREAM"]


def test_a_stream_that_outlives_a_raise_breaks_ended() -> None:
    assert rules(streams=(stream(ended_at=None),)) == ["ENDED"]


def test_a_refusal_within_an_open_time_breaks_back_and_a_failure_only_when_all_is_calm() -> None:
    assert rules(request(22, 23, 403)) == ["BACK"]
    assert rules(request(22, 23, 503)) == []
    assert rules(request(22, 23, 503, when_calm=True)) == ["BACK"]

"""Pages of a search: each candidate once, in order, whoever comes and goes between them."""

import pytest

from gateway.hub.authzen_search import MAX_PAGE, Page, SearchFault, page_of


def test_pages_walk_through_everything_once():
    candidates = [f"u{number:03}" for number in range(250)]
    seen, token = [], ""
    while True:
        chosen, token = page_of(reversed(candidates), Page(token=token))
        assert len(chosen) <= MAX_PAGE
        seen += chosen
        if not token:
            break
    assert seen == candidates


def test_who_comes_or_goes_moves_nobody():
    chosen, token = page_of(["b", "d", "f"], Page(limit=2))
    assert chosen == ["b", "d"]
    assert page_of(["a", "c", "e", "f"], Page(token=token)) == (["e", "f"], "")


def test_any_text_can_be_the_last():
    _, token = page_of(["", "\u00e9\u4e2d", "z\n"], Page(limit=1))
    assert page_of(["", "\u00e9\u4e2d", "z\n"], Page(token=token)) == (["z\n", "\u00e9\u4e2d"], "")


@pytest.mark.parametrize(
    "page", [Page(limit=0), Page(limit=-1), Page(limit=101), Page(token="x"), Page(token="//8")]
)
def test_what_is_no_page_is_refused(page):
    with pytest.raises(SearchFault):
        page_of(["a"], page)

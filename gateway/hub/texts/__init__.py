"""The texts of the pages, in the language of whoever reads them.

The language is ambient, as with gettext everywhere: `speaking` sets it for a request, `text` and `plural` use it.
Without it they speak English.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gateway.hub.texts.catalogue import ENGLISH, Catalogue
from gateway.hub.texts.english import TEXTS

__all__ = ["TEXTS", "plural", "preferred", "speaking", "spoken", "text"]

_spoken: ContextVar[Catalogue] = ContextVar("spoken", default=ENGLISH)
_dialects: ContextVar[tuple[str, ...]] = ContextVar("dialects", default=())


@contextmanager
def speaking(catalogue: Catalogue, dialects: tuple[str, ...] = ()) -> Iterator[None]:
    """Speak this language until the block ends, in this task and those that it begins.

    `dialects` are what of it the reader prefers, such as `pt-BR` for `pt`: texts of the configuration may have them.
    """
    before, dialects_before = _spoken.set(catalogue), _dialects.set(dialects)
    try:
        yield
    finally:
        _spoken.reset(before)
        _dialects.reset(dialects_before)


def spoken() -> Catalogue:
    """Return the catalogue that is spoken now."""
    return _spoken.get()


def preferred() -> tuple[str, ...]:
    """Return the language ranges by which a text in several languages is chosen now, the most preferred first."""
    return (*_dialects.get(), _spoken.get().language)


def text(key: str, **values: object) -> str:
    """Return the text `key` with `values` put in, as plain text.

    Raises `KeyError` for an unknown key or value.
    """
    return _spoken.get().template(key).format(**values)


def plural(key: str, count: int, **values: object) -> str:
    """Return the text `key` in its form for `count`, with ``{count}`` put in."""
    return _spoken.get().plural_template(key, count).format(count=count, **values)

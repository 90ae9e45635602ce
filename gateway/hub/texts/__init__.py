"""The texts of the pages, in the language of whoever reads them.

The language is ambient, as with gettext everywhere: `speaking` sets it for a request, `text` and `plural` use it.
Without it they speak English.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gateway.hub.texts.catalogue import ENGLISH, Catalogue
from gateway.hub.texts.english import TEXTS

__all__ = ["TEXTS", "plural", "speaking", "spoken", "text"]

_spoken: ContextVar[Catalogue] = ContextVar("spoken", default=ENGLISH)


@contextmanager
def speaking(catalogue: Catalogue) -> Iterator[None]:
    """Speak this language until the block ends, in this task and those that it begins."""
    before = _spoken.set(catalogue)
    try:
        yield
    finally:
        _spoken.reset(before)


def spoken() -> Catalogue:
    """Return the catalogue that is spoken now."""
    return _spoken.get()


def text(key: str, **values: object) -> str:
    """Return the text `key` with `values` put in, as plain text.

    Raises `KeyError` for an unknown key or value.
    """
    return _spoken.get().template(key).format(**values)


def plural(key: str, count: int, **values: object) -> str:
    """Return the text `key` in its form for `count`, with ``{count}`` put in."""
    return _spoken.get().plural_template(key, count).format(count=count, **values)

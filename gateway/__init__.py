"""What HAPPENS: the proxy data path, identity, enforcement, pages, configuration and command line."""

from gateway import compiled

__version__ = "0.1.0"

is_compiled = compiled.install()
"""Whether the data path runs as machine code: before any module of it is imported."""

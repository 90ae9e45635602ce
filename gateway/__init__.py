"""What HAPPENS: the proxy data path, identity, enforcement, pages, configuration and command line."""

__version__ = "0.1.0"

"""What of a configuration comes into force only when the gateway is started again."""

from gateway.config.schema import Config

RESTART_ONLY = ("listen", "ops", "workers", "run_dir", "tls", "proxy_protocol")
"""Settings of `server`."""


def restart_needed(before: Config, after: Config) -> tuple[str, ...]:
    """Return the key paths of what was changed and needs a restart."""
    changed = [
        f"server.{name}"
        for name in RESTART_ONLY
        if getattr(before.server, name) != getattr(after.server, name)
    ]
    changed += ["risk.hostname_domains"] * (before.risk.hostname_domains != after.risk.hostname_domains)
    return (*changed, *(["store"] if before.store != after.store else []))

"""Addresses that open a system's own settings, where the system has them. Pure.

Source: Microsoft, "Launch Windows Settings"; Apple's preference panes by their identifiers. A browser may refuse to
open one, so that each is also shown to be copied.
"""

import re

from gateway.hub.views import OperatingSystem

_WINDOWS, _MACOS = OperatingSystem.WINDOWS, OperatingSystem.MACOS
_APPLE = "x-apple.systempreferences:com.apple."

_LINKS: tuple[tuple[re.Pattern[str], dict[OperatingSystem, str]], ...] = (
    (
        re.compile(r"encrypt|filevault|bitlocker", re.IGNORECASE),
        {
            _WINDOWS: "ms-settings:deviceencryption",
            _MACOS: _APPLE + "settings.PrivacySecurity.extension?FileVault",
        },
    ),
    (
        re.compile(r"firewall", re.IGNORECASE),
        {
            _WINDOWS: "windowsdefender://network",
            _MACOS: _APPLE + "Network-Settings.extension?Firewall",
        },
    ),
    (
        re.compile(r"antivirus|anti-virus|malware|defender|real.?time", re.IGNORECASE),
        {_WINDOWS: "windowsdefender://threat"},
    ),
    (
        re.compile(r"screen.?lock|lock.?screen|screensaver|password.?on.?wake", re.IGNORECASE),
        {
            _WINDOWS: "ms-settings:signinoptions",
            _MACOS: _APPLE + "Lock-Screen-Settings.extension",
        },
    ),
    (
        re.compile(r"\bos\b|os[._-]?version|os[._-]update|system update|macos|windows|kernel", re.IGNORECASE),
        {
            _WINDOWS: "ms-settings:windowsupdate",
            _MACOS: _APPLE + "Software-Update-Settings.extension",
        },
    ),
)


def settings_link(system: OperatingSystem, *names: str) -> str:
    """Return the address that opens the setting which these names of a rule are about, "" when there is none.

    >>> settings_link(OperatingSystem.WINDOWS, "disk", "Turn on disk encryption")
    'ms-settings:deviceencryption'
    >>> settings_link(OperatingSystem.LINUX, "disk", "Turn on disk encryption")
    ''
    """
    for pattern, by_system in _LINKS:
        if any(pattern.search(name) for name in names):
            return by_system.get(system, "")
    return ""

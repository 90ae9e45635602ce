"""The effective controls of one session: several profiles and plain controls added up, the strictest of each. Pure."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from compliance.model import SessionControl
from compliance.paths import compile_paths
from gateway.config.profiles import (
    BannerMode,
    NoDownloads,
    NoUploads,
    NoWebsocket,
    ReadOnly,
    ResponseHardening,
    SessionProfile,
)


class Limit(StrEnum):
    """What can refuse a request or withhold a response of a limited session: the session controls, and bounds."""

    READ_ONLY = "read-only"
    NO_DOWNLOADS = "no-downloads"
    NO_UPLOADS = "no-uploads"
    NO_WEBSOCKET = "no-websocket"
    NO_STORE = "no-store"
    HIDDEN_PATH = "hidden-path"
    RATE = "rate"


BUILT_IN: Mapping[SessionControl, SessionProfile] = {
    SessionControl.READ_ONLY: SessionProfile(name="read-only", read_only=ReadOnly()),
    SessionControl.NO_DOWNLOADS: SessionProfile(name="no-downloads", no_downloads=NoDownloads()),
    SessionControl.NO_UPLOADS: SessionProfile(name="no-uploads", no_uploads=NoUploads()),
    SessionControl.NO_WEBSOCKET: SessionProfile(name="no-websocket", no_websocket=NoWebsocket()),
    SessionControl.NO_STORE: SessionProfile(name="no-store", no_store=True),
}
"""What the plain `controls` of access policies mean."""

SEALED = SessionProfile(
    name="sealed",
    read_only=ReadOnly(),
    no_downloads=NoDownloads(),
    no_uploads=NoUploads(),
    no_websocket=NoWebsocket(),
    no_store=True,
)
"""What a profile means that nobody can look up: everything. Only a worker that is behind its hub ever meets one."""

N = TypeVar("N", int, float)
Covers = Callable[[str], bool]


class Paths:
    """Paths that a control leaves alone: those that every profile with that control leaves alone."""

    def __init__(self, lists: Iterable[tuple[str, ...]]) -> None:
        patterns = list(lists)
        self._tests: list[Covers] = [compile_paths(each) for each in patterns if each]
        self._is_empty = not patterns or not all(patterns)

    def covers(self, path: str) -> bool:
        """Return whether every list has a pattern for the path."""
        return not self._is_empty and all(test(path) for test in self._tests)


class HiddenPaths:
    """Paths that any profile closes. Letters count alike in any case, and dots or spaces at the end of a segment not.

    File servers on some systems read `/Secret./` as `/secret/`.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        folded = [_folded(pattern) for pattern in patterns]
        self._test: Covers | None = compile_paths(folded) if folded else None

    def covers(self, path: str) -> bool:
        """Return whether the path is closed."""
        return self._test is not None and (self._test(path) or self._test(_folded(path)))


def _folded(path: str) -> str:
    """Return a path as the most forgiving server reads it."""
    segments = unquote(path).casefold().split("/")
    return "/".join(segment if segment.strip(".*") == "" else segment.rstrip(". ") for segment in segments)


class Effective(NamedTuple):
    """What limits one session. An absent control is None; `notice` is None when nobody is told.

    `leads_to` are the further hosts of responses, each list of which has to have the host.
    `names` are what the app and the pages are told, sorted. `profiles` are the names of the configured profiles.
    """

    names: tuple[str, ...]
    profiles: tuple[str, ...]
    methods: frozenset[str] | None
    graphql: Paths
    writable: Paths
    display: tuple[frozenset[str], ...] | None
    is_pdf_shown: bool
    is_sandboxed: bool
    leads_to: tuple[frozenset[str], ...]
    download_max_bytes: int | None
    downloadable: Paths
    upload_max_bytes: int | None
    uploadable: Paths
    no_websocket: bool
    websockets: Paths
    hidden: HiddenPaths
    no_store: bool
    headers: tuple[ResponseHardening, ...]
    reauthenticate: float | None
    requests_per_minute: int | None
    bytes_per_hour: int | None
    banner: BannerMode
    watermark: bool

    @property
    def keeps_nothing(self) -> bool:
        """Whether nothing that a browser kept may be used again."""
        return self.no_store or self.banner is BannerMode.GATEWAY


_BANNER_RANK = {BannerMode.OFF: 0, BannerMode.APP: 1, BannerMode.GATEWAY: 2}


@lru_cache(maxsize=1024)
def combined(profiles: tuple[SessionProfile, ...], banner: BannerMode | None = None) -> Effective:
    """Return what several profiles mean together. `banner` is the app's own choice, which counts before theirs."""
    reads = [each.read_only for each in profiles if each.read_only is not None]
    downloads = [each.no_downloads for each in profiles if each.no_downloads is not None]
    uploads = [each.no_uploads for each in profiles if each.no_uploads is not None]
    sockets = [each.no_websocket for each in profiles if each.no_websocket is not None]
    headers = tuple(each.headers for each in profiles if each.headers != ResponseHardening())
    hidden = [pattern for each in profiles for pattern in each.hidden_paths]
    told = max((each.banner for each in profiles), key=_BANNER_RANK.__getitem__, default=BannerMode.OFF)
    in_force = {
        Limit.READ_ONLY: bool(reads),
        Limit.NO_DOWNLOADS: bool(downloads),
        Limit.NO_UPLOADS: bool(uploads),
        Limit.NO_WEBSOCKET: bool(sockets),
        Limit.NO_STORE: any(each.no_store for each in profiles),
        Limit.HIDDEN_PATH: bool(hidden),
        Limit.RATE: any(each.requests_per_minute or each.bytes_per_hour for each in profiles),
    }
    built_in = {each.name for each in BUILT_IN.values()}
    return Effective(
        names=tuple(sorted(limit.value for limit, is_set in in_force.items() if is_set)),
        profiles=tuple(sorted({each.name for each in profiles} - built_in)),
        methods=frozenset.intersection(*(frozenset(each.methods) for each in reads)) if reads else None,
        graphql=Paths(each.graphql for each in reads),
        writable=Paths(each.allow for each in reads),
        display=tuple(frozenset(each.display) for each in downloads) if downloads else None,
        is_pdf_shown=all(each.pdf for each in downloads),
        is_sandboxed=any(each.sandbox for each in downloads),
        leads_to=tuple(frozenset(each.hosts) for each in downloads),
        download_max_bytes=_least(each.max_bytes for each in downloads),
        downloadable=Paths(each.allow for each in downloads),
        upload_max_bytes=_least(each.max_bytes for each in uploads),
        uploadable=Paths(each.allow for each in uploads),
        no_websocket=bool(sockets),
        websockets=Paths(each.allow for each in sockets),
        hidden=HiddenPaths(hidden),
        no_store=in_force[Limit.NO_STORE],
        headers=headers,
        reauthenticate=_least(each.reauthenticate for each in profiles),
        requests_per_minute=_least(each.requests_per_minute for each in profiles),
        bytes_per_hour=_least(each.bytes_per_hour for each in profiles),
        banner=told if banner is None else banner,
        watermark=any(each.watermark for each in profiles),
    )


def _least(values: Iterable[N | None]) -> N | None:
    """Return the least of the values that are given."""
    return min((value for value in values if value is not None), default=None)


class Profiles:
    """The profiles of one configuration by name."""

    def __init__(self, profiles: Iterable[SessionProfile] = ()) -> None:
        self._by_name = {profile.name: profile for profile in profiles}

    def effective(
        self,
        controls: frozenset[SessionControl],
        profiles: frozenset[str],
        banner: BannerMode | None = None,
    ) -> Effective:
        """Return what plain controls and profiles mean together; a profile that is not known closes everything."""
        plain = [BUILT_IN[control] for control in sorted(controls)]
        named = [self._by_name.get(name, SEALED) for name in sorted(profiles)]
        return combined((*plain, *named), banner)

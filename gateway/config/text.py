"""From bytes to YAML nodes: bounded, YAML 1.2, with the position of every key and value.

Nodes are used instead of ruamel's ready values because they keep the text as it was written: `14.10` stays
`14.10` where a text is expected, `NO` is a country and not a truth value, and `10:30` is no number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import MappingStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from gateway.config.errors import Code, ConfigInvalid, Fault

MAX_FILE_BYTES = 1024 * 1024
MAX_NODES = 100_000
"""Most values of a document after every alias has been followed."""

MAX_ENTRIES = 2000
"""Most sections of one list, such as policies, over all files."""

_PLACED = "file:"
MAX_DEPTH = 40
"""Deepest nesting of a document."""

_HINTS = (
    ("'\\t' that cannot start any token", "indent with spaces, not with tabs"),
    ("mapping values are not allowed here", "put a text that contains `: ` into quotes"),
    ("could not find expected ':'", "a key needs a colon and a space"),
    ("but got '<stream end>'", "a bracket or a quote that was opened is not closed"),
    ("expected ',' or '}'", "close `{` with `}`, and put commas between the entries"),
    ("expected ',' or ']'", "close `[` with `]`, and put commas between the entries"),
    ("undefined alias", "put a text that begins with `*` into quotes"),
    ("expected <block end>, but found '?'", "a key stands further left than those that it belongs to"),
    ("expected <block end>, but found '-'", "an entry stands further left than those before it"),
    ("expected a single document", "one file holds one document"),
)


class _TooLarge(Exception):
    """The document is larger than any real one; it is not read to its end."""

    def __init__(self, path: str, message: str, line: int, column: int, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint
        self.at = (line, column)


class _BoundedComposer(Composer):
    """Builds nodes, and gives up as soon as there are too many."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self._count = 0
        self._path: list[str] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node. `index` is the node of the key that it belongs to, or its number in a list."""
        self._count += 1
        if self._count > MAX_NODES:
            raise self._too_large(f"more than {MAX_NODES:,} values")
        is_entry = isinstance(index, int)
        if is_entry and index >= MAX_ENTRIES and self.parser.check_event(MappingStartEvent):
            raise self._too_large(f"more than {MAX_ENTRIES:,} entries in one list", TOO_MANY_HINT)
        if not is_entry:
            self._path.append(str(getattr(index, "value", "")))
        node = super().compose_node(parent, index)
        if not is_entry:
            self._path.pop()
        return node

    def _too_large(self, message: str, hint: str = "") -> _TooLarge:
        mark = self.parser.peek_event().start_mark
        return _TooLarge(".".join(self._path[1:]), message, mark.line + 1, mark.column + 1, hint)


TOO_MANY_HINT = "one policy can name many apps, groups and conditions"


def read_text(path: Path, name: str, *, missing_hint: str = "") -> str:
    """Return the text of a configuration file. Raises `ConfigInvalid` when there is none to be had."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        message = f"cannot read the configuration: {error.strerror}"
        raise _invalid(name, Code.FILE, message, hint=missing_hint) from error
    if len(raw) > MAX_FILE_BYTES:
        message = f"the file is larger than {MAX_FILE_BYTES // 1024} KiB, the most that one file may have"
        raise _invalid(name, Code.FILE, message, hint="split it, by `include`")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise _invalid(name, Code.FILE, message, line, column, "save the file as UTF-8") from error


def parse_text(text: str, name: str) -> MappingNode:
    """Return the root mapping of a YAML text, aliases bounded.

    Raises `ConfigInvalid` with the place of the fault.
    """
    try:
        yaml = YAML(typ="rt", pure=True)
        yaml.Composer = _BoundedComposer
        root = yaml.compose(text)
    except _TooLarge as error:
        raise _invalid(name, Code.UNBOUNDED, str(error), *error.at, error.hint, error.path) from error
    except MarkedYAMLError as error:
        raise _syntax(error, name) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        message = f"character U+{error.character:04X} is not allowed"
        raise _invalid(name, Code.SYNTAX, message, line, column) from error
    except RecursionError as error:
        raise _invalid(name, Code.UNBOUNDED, f"nested deeper than {MAX_DEPTH} levels") from error
    except (YAMLError, ValueError) as error:
        raise _invalid(name, Code.SYNTAX, str(error).splitlines()[0]) from error
    if root is None:
        raise _invalid(name, Code.FILE, "the file is empty", hint="`posturegate init` writes a first one")
    _check_version(text, name)
    if not isinstance(root, MappingNode):
        raise _invalid(name, Code.WRONG_TYPE, "the document must be a mapping of keys", *position(root))
    _check_bounds(root, name)
    return root


def position(node: Node) -> tuple[int, int]:
    """Return line and column of a node, from 1."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def place(node: Node, file: str) -> None:
    """Note that a node stands in another file than the configuration itself."""
    node.start_mark.name = _PLACED + file


def file_of(node: Node) -> str | None:
    """Return the file that a node was noted to stand in, None for the configuration itself."""
    name = node.start_mark.name
    return name.removeprefix(_PLACED) if isinstance(name, str) and name.startswith(_PLACED) else None


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes directly below a node, keys included."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


def scalar(text: str, like: Node, tag: str = "tag:yaml.org,2002:str") -> ScalarNode:
    """Return a node for a text that came from elsewhere, at the place of `like`."""
    return ScalarNode(tag, text, like.start_mark, like.end_mark, style="'")


def _check_version(text: str, name: str) -> None:
    """Refuse another YAML version: under 1.1 `no` would be a truth value."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%YAML") and line.split()[1:2] != ["1.2"]:
            raise _invalid(name, Code.SYNTAX, "only YAML 1.2 is read", number, 1)
        if line.startswith("---"):
            return


def _check_bounds(root: Node, name: str) -> None:
    """Refuse recursive aliases, deep nesting, and aliases that multiply (the size is counted, not built)."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size_of(node: Node, depth: int) -> int:
        if id(node) in open_nodes:
            raise _invalid(name, Code.UNBOUNDED, "an alias stands inside what it names", *position(node))
        if depth > MAX_DEPTH:
            raise _invalid(name, Code.UNBOUNDED, f"nested deeper than {MAX_DEPTH} levels", *position(node))
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size_of(child, depth + 1) for child in children(node))
            open_nodes.discard(id(node))
        if sizes[id(node)] > MAX_NODES:
            message = f"more than {MAX_NODES:,} values, its aliases followed"
            raise _invalid(name, Code.UNBOUNDED, message, *position(node))
        return sizes[id(node)]

    size_of(root, 0)


def _syntax(error: MarkedYAMLError, name: str) -> ConfigInvalid:
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context or "not YAML").splitlines()[0]
    hint = next((hint for part, hint in _HINTS if part in problem), "")
    message = f"{error.context}: {problem}" if error.context and error.problem else problem
    if mark is None:
        return _invalid(name, Code.SYNTAX, message, hint=hint)
    return _invalid(name, Code.SYNTAX, message, mark.line + 1, mark.column + 1, hint)


def _invalid(  # noqa: PLR0917 - as the parts stand in the text
    name: str, code: Code, message: str, line: int = 0, column: int = 0, hint: str = "", path: str = ""
) -> ConfigInvalid:
    return ConfigInvalid(
        [Fault(file=name, line=line, column=column, path=path, code=code, message=message, hint=hint)]
    )

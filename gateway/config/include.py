"""A configuration split over files: what `include` names is read into the lists of the file that names it.

Every node keeps the file it stands in, so that faults and origins name it. Their order never matters to policies.
"""

from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.config.errors import Code, ConfigInvalid, Fault, did_you_mean, shown
from gateway.config.text import (
    MAX_ENTRIES,
    TOO_MANY_HINT,
    children,
    parse_text,
    place,
    position,
    read_text,
)

LISTS = ("apps", "devices", "networks", "never", "sensors", "tests")
"""Lists of the root that an included file may add to."""

INNER_LISTS = {"access": ("policies",), "compliance": ("policies", "exemptions")}
"""Lists within sections that an included file may add to."""

MAX_FILES = 200
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 4


class Included:
    """Reads the files that a root names, and theirs. `texts` are all texts that were read, in order."""

    def __init__(self, file: Path, text: str) -> None:
        self.texts = [text]
        self._file = file
        self._seen = {file.resolve()}
        self._bytes = len(text)

    def into(self, root: MappingNode) -> None:
        """Add what the files say to the lists of `root`. Raises `ConfigInvalid` at the first fault."""
        self._take(root, root, self._file, (self._file.resolve(),))

    def _take(self, root: MappingNode, node: MappingNode, file: Path, chain: tuple[Path, ...]) -> None:
        entries = [(key, value) for key, value in node.value if _is(key, "include")]
        for _, value in entries:
            if not isinstance(value, SequenceNode) or not all(
                isinstance(each, ScalarNode) for each in value.value
            ):
                raise _fault(value, file, "`include` is a list of files", "include: [policies/*.yaml]")
            for pattern in value.value:
                for found in self._found(pattern, file, chain):
                    self._read(root, found, pattern, file, chain)
        node.value = [(key, value) for key, value in node.value if not _is(key, "include")]

    def _found(self, pattern: ScalarNode, file: Path, chain: tuple[Path, ...]) -> list[Path]:
        text = str(pattern.value)
        if Path(text).is_absolute() or not text or ".." in Path(text).parts:
            hint = "a file below the folder of the file that includes it, such as `policies/*.yaml`"
            raise _fault(pattern, file, f"{shown(text)} is not below this folder", hint)
        try:
            found = sorted(path for path in file.parent.glob(text) if path.is_file())
        except (ValueError, NotImplementedError, OSError) as error:
            raise _fault(pattern, file, f"{shown(text)} is no file pattern: {error}") from error
        if not found:
            hint = f"it is looked for below {shown(str(file.parent))}"
            raise _fault(pattern, file, f"no file matches {shown(text)}", hint, code=Code.FILE_NEEDED)
        for path in found:
            if path.resolve() in chain:
                message = f"{shown(str(path))} includes itself, by way of other files or directly"
                raise _fault(pattern, file, message, "take it out of `include`, or name the files one by one")
        return [path for path in found if path.resolve() not in self._seen]

    def _read(
        self, root: MappingNode, path: Path, pattern: ScalarNode, file: Path, chain: tuple[Path, ...]
    ) -> None:
        self._seen.add(path.resolve())
        if len(chain) >= MAX_DEPTH:
            raise _fault(
                pattern, file, f"files include each other deeper than {MAX_DEPTH}", code=Code.UNBOUNDED
            )
        if len(self._seen) > MAX_FILES:
            raise _fault(pattern, file, f"more than {MAX_FILES} files", code=Code.UNBOUNDED)
        name = str(path)
        text = read_text(path, name)
        self._bytes += len(text)
        if self._bytes > MAX_BYTES:
            raise _fault(
                pattern, file, f"more than {MAX_BYTES:,} characters in all files", code=Code.UNBOUNDED
            )
        self.texts.append(text)
        node = parse_text(text, name)
        for each in _all(node, set()):
            place(each, name)
        self._take(root, node, path, (*chain, path.resolve()))
        for key, value in node.value:
            self._merge(root, key, value, path)

    def _merge(self, root: MappingNode, key: Node, value: Node, path: Path) -> None:
        name = str(key.value) if isinstance(key, ScalarNode) else ""
        if name in LISTS:
            _extend(root, key, value, path)
        elif name in INNER_LISTS:
            if not isinstance(value, MappingNode):
                raise _fault(value, path, f"`{name}` is a section of keys")
            section = _section(root, key)
            for inner, values in value.value:
                allowed = INNER_LISTS[name]
                if not isinstance(inner, ScalarNode) or inner.value not in allowed:
                    message = f"`{name}.{getattr(inner, 'value', '')}` belongs into the first file"
                    raise _fault(inner, path, message, f"an included file may add to {_words(name, allowed)}")
                _extend(section, inner, values, path)
        else:
            hint = did_you_mean(name, [*LISTS, *INNER_LISTS])
            raise _fault(key, path, f"`{name}` belongs into the first file", hint)


def _words(section: str, names: tuple[str, ...]) -> str:
    return " and ".join(f"`{section}.{name}`" for name in names)


def _is(key: Node, name: str) -> bool:
    return isinstance(key, ScalarNode) and key.value == name


def _section(root: MappingNode, key: Node) -> MappingNode:
    """Return the section of the root with this key, made when there is none."""
    for own, value in root.value:
        if _is(own, str(key.value)) and isinstance(value, MappingNode):
            return value
    made = MappingNode("tag:yaml.org,2002:map", [], key.start_mark, key.end_mark)
    root.value.append((key, made))
    return made


def _extend(section: MappingNode, key: Node, values: Node, path: Path) -> None:
    """Add entries to the list of a section, made when there is none."""
    if not isinstance(values, SequenceNode):
        raise _fault(values, path, f"`{key.value}` is a list")
    for own, value in section.value:
        if _is(own, str(key.value)) and isinstance(value, SequenceNode):
            value.value = [*value.value, *values.value]
            if len(value.value) > MAX_ENTRIES and isinstance(value.value[MAX_ENTRIES], MappingNode):
                message = f"more than {MAX_ENTRIES:,} entries of `{key.value}` in all files"
                raise _fault(values, path, message, TOO_MANY_HINT, code=Code.UNBOUNDED)
            return
    section.value.append((key, values))


def _all(node: Node, seen: set[int]) -> Iterator[Node]:
    """Yield a node and everything below it once; depth is bounded by the parser."""
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    for child in children(node):
        yield from _all(child, seen)


def _fault(node: Node, file: Path, message: str, hint: str = "", *, code: Code = Code.FORM) -> ConfigInvalid:
    line, column = position(node)
    return ConfigInvalid(
        [
            Fault(
                file=str(file),
                line=line,
                column=column,
                path="include",
                code=code,
                message=message,
                hint=hint,
            )
        ]
    )

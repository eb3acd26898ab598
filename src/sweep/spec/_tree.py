"""YAML text -> plain data, with the line and column of every key and value.

The rule of this file: the text comes from anybody. So nodes are built from PyYAML's events (nothing here recurses on the
text, no tag constructs an object), and depth, size and the expansion of aliases are bounded. Numbers are
YAML 1.1 as PyYAML has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from sweep.spec._problems import Path, Report, SpecError, shorten
from sweep.spec._scalars import read_scalar

MAX_DEPTH = 100
MAX_NODES = 200_000
_CORE = "tag:yaml.org,2002:"
_MERGE = _CORE + "merge"
_UNPRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS_OF_THE_PARSER = {
    "mapping values are not allowed": "a second `: ` on the line, a line that is indented too far, or a key above that lacks its `:`; a text with `: ` in it needs quotes",
    "cannot start any token": "no value can begin with this character; write the text in quotes, and indent with spaces, not tabs",
    "unexpected end of stream": "a quote or a bracket is not closed",
    "',' or ']'": "a `[` is not closed, or a comma is missing",
    "',' or '}'": "a `{` is not closed, or a comma is missing",
    "expected key": "this line does not fit the lines above: check its indentation, and brackets and quotes",
    "'-' indicator": "this line does not fit the list above: check its indentation",
    "could not find expected ':'": "the line above is not `key: value`: a `:` is missing after the key",
    "expected the node content": "a value is missing here",
    "expected node content": "a value is missing here",
    "unknown escape character": "an escape that YAML does not know; write a backslash twice, or use single quotes",
    "undefined tag handle": "a text that begins with `!` needs quotes",
}

_Mark = tuple[int, int]


@dataclass(slots=True)
class Node:
    """One value of the file. `items` for a list, `entries` (key -> where the key stands, value) for a mapping."""

    kind: str
    mark: _Mark
    value: Any = None
    text: str = ""
    plain: bool = False
    is_merge: bool = False
    items: list[Node] = field(default_factory=list)
    entries: dict[str, tuple[_Mark, Node]] = field(default_factory=dict)


class Tree:
    """The nodes of one file: a `Source` for messages."""

    def __init__(self, root: Node) -> None:
        self.root = root

    def data(self, report: Report) -> Any:
        """Plain Python data; aliases are expanded. Raises SpecError when that is deeper or larger than allowed."""
        return _Builder(report).build(self.root, 0)

    def mark(self, path: Path) -> _Mark | None:
        mark, _ = self._find(path)
        return mark

    def text(self, path: Path) -> str | None:
        _, node = self._find(path)
        return node.text if node is not None and node.kind == "scalar" else None

    def is_plain(self, path: Path) -> bool:
        _, node = self._find(path)
        return node is not None and node.plain

    def _find(self, path: Path) -> tuple[_Mark, Node | None]:
        mark, node = self.root.mark, self.root
        for part in path:
            if isinstance(part, str) and part in node.entries:
                mark, node = node.entries[part]
            elif isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                mark = node.mark
            else:
                return mark, None
        return mark, node


def read_tree(text: str, report: Report) -> Tree:
    """The nodes of `text`. What still leaves a usable tree (a duplicate key) is only reported. Raises SpecError otherwise."""
    _check_characters(text, report)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    composer = _Composer(report)
    try:
        for event in yaml.parse(text, Loader=loader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        _fail_to_parse(error, report)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        _fail(report, (1, 1), f"this is not YAML: {shorten(str(error))}")
    if composer.root is None:
        _fail(report, (1, 1), "the file is empty; a sweep needs at least `method` and `parameters`")
    if composer.broken:
        report.stop_on_errors()
    return Tree(composer.root)


def _check_characters(text: str, report: Report) -> None:
    if found := _UNPRINTABLE.search(text):
        before = text[: found.start()]
        mark = (before.count("\n") + 1, found.start() - (before.rfind("\n") + 1) + 1)
        _fail(report, mark, f"the character U+{ord(found[0]):04X} is not allowed in a YAML file")


def _fail_to_parse(error: yaml.MarkedYAMLError, report: Report) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or "it cannot be read"
    if "expected <block end>" in problem:  # the parser in Python; libyaml says it this way:
        problem = "expected '-' indicator" if "collection" in (error.context or "") else "expected key"
    if "maximum nesting depth" in problem:  # the parser's own limit, which it reaches before we are asked
        _fail(report, place, f"nested more than {MAX_DEPTH} deep")
    for words, meaning in _WORDS_OF_THE_PARSER.items():
        if words in problem:
            _fail(report, place, f"this is not YAML: {meaning}")
    context = f" ({error.context})" if error.context else ""
    _fail(report, place, f"this is not YAML: {problem}{context}")


def _fail(report: Report, mark: _Mark, message: str) -> NoReturn:
    report.error_at(*mark, (), message)
    raise SpecError(report.errors)


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    node: Node
    anchor: str | None
    key: Node | None = None
    name: str | int | None = None
    merges: list[Node] = field(default_factory=list)


class _Composer:
    """Events -> nodes, with its own stack."""

    def __init__(self, report: Report) -> None:
        self.root: Node | None = None
        self.broken = False
        self._report = report
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._resolver: Any = yaml.resolver.Resolver()

    def take(self, event: Any) -> None:
        mark = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            self._open(event.anchor)
            self._close(event.anchor, self._scalar(event, mark))
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._start(event, mark)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            frame = self._stack.pop()
            self._merge(frame)
            self._close(frame.anchor, frame.node)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, mark)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            _fail(self._report, mark, "a second document begins here (`---`); a sweep file holds one")

    def _start(self, event: Any, mark: _Mark) -> None:
        kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "map"
        self._check_tag(event.tag, mark, {"list": "seq", "map": "map"}[kind])
        if len(self._stack) >= MAX_DEPTH:
            _fail(self._report, mark, f"nested more than {MAX_DEPTH} deep")
        self._open(event.anchor)
        self._stack.append(_Frame(Node(kind, mark), event.anchor))

    def _open(self, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = None

    def _close(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        self._nodes += 1
        if self._nodes > MAX_NODES:
            _fail(self._report, node.mark, f"the file has more than {MAX_NODES:,} values")
        self._add(node, node.mark)

    def _alias(self, event: Any, mark: _Mark) -> None:
        node = self._anchors.get(event.anchor)
        if node is None:
            inside = event.anchor in self._anchors
            why = "stands inside of what it names" if inside else f"has no anchor `&{event.anchor}` before it"
            _fail(self._report, mark, f"the alias `*{shorten(event.anchor)}` {shorten(why)}")
        self._add(node, mark)

    def _add(self, node: Node, mark: _Mark) -> None:
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if frame.node.kind == "list":
            frame.node.items.append(node)
        elif frame.key is None:
            frame.key = Node(node.kind, mark, node.value, node.text, node.plain, node.is_merge)
        else:
            key, frame.key = frame.key, None
            self._add_entry(frame, key, node)

    def _add_entry(self, frame: _Frame, key: Node, value: Node) -> None:
        if key.is_merge:
            if frame.merges:
                self._error(key.mark, "<<", "given twice; write one `<<: [*a, *b]`")
            frame.merges += value.items if value.kind == "list" else [value]
            return
        if key.value is True and key.text == "on" and tuple(self._path()) == ("retry",):
            key.value = key.text  # the one key of ours that YAML 1.1 takes for a truth value
        if message := _key_problem(key):
            self._error(key.mark, key.text, message)
            return
        if key.value in frame.node.entries:
            line, _ = frame.node.entries[key.value][0]
            self._error(key.mark, key.value, f"given twice (first in line {line})")
            return
        frame.node.entries[key.value] = (key.mark, value)

    def _merge(self, frame: _Frame) -> None:
        """`<<`: own entries win, then those of the mapping named first."""
        if not frame.merges:
            return
        merged: dict[str, tuple[_Mark, Node]] = {}
        for source in frame.merges:
            if source.kind != "map":
                self._error(frame.node.mark, "<<", "only mappings can be merged in with `<<`")
                continue
            self._nodes += len(source.entries)
            if self._nodes > MAX_NODES:
                _fail(self._report, frame.node.mark, f"the file has more than {MAX_NODES:,} values")
            merged = {**source.entries, **merged}
        frame.node.entries = {**merged, **frame.node.entries}

    def _scalar(self, event: Any, mark: _Mark) -> Node:
        plain = event.style in (None, "")
        tag = event.tag
        if tag is None:
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        elif tag == "!":
            tag = _CORE + "str"
        else:
            tag = self._check_tag(tag, mark, "str", "int", "float", "bool", "null")
        node = Node("scalar", mark, text=event.value, plain=plain, is_merge=tag == _MERGE)
        node.value, message = read_scalar(event.value, tag)
        if message:
            self.broken = True
            self._error(mark, "", message)
        return node

    def _check_tag(self, tag: str | None, mark: _Mark, *known: str) -> str:
        if tag in (None, "!") or tag in {_CORE + name for name in known}:
            return str(tag)
        self.broken = True
        shown = shorten(tag.replace(_CORE, "!!") if tag else "")
        self._error(
            mark,
            "",
            f"the tag `{shown}` is not allowed: values are plain data; a text that begins with `!` needs quotes",
        )
        return _CORE + "str"

    def _error(self, mark: _Mark, key: str, message: str) -> None:
        self._report.error_at(*mark, (*self._path(), *([key] if key else [])), message)

    def _path(self) -> Iterator[str | int]:
        """Where the composer stands, in keys and indices."""
        for frame in self._stack:
            if frame.node.kind == "list":
                yield len(frame.node.items)
            elif frame.key is not None and isinstance(frame.key.value, str):
                yield frame.key.value


def _key_problem(key: Node) -> str | None:
    if key.kind != "scalar":
        return f"a key must be text, not a {'list' if key.kind == 'list' else 'mapping'}; a text with `{{` or `[` in front needs quotes"
    if isinstance(key.value, str):
        return None
    shown = (
        "null" if key.value is None else str(key.value).lower() if isinstance(key.value, bool) else "a number"
    )
    name = shorten(key.text)
    return f"YAML reads the key `{name}` as {shown}, and a key must be text; write it in quotes: '{name}'"


class _Builder:
    """Nodes -> plain data; counts what aliases multiply."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._count = 0

    def build(self, node: Node, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            _fail(
                self._report,
                node.mark,
                f"with its aliases expanded, the file has more than {MAX_NODES:,} values",
            )
        if depth > MAX_DEPTH:
            _fail(
                self._report,
                node.mark,
                f"with its aliases expanded, the file is nested more than {MAX_DEPTH} deep",
            )
        if node.kind == "list":
            return [self.build(item, depth + 1) for item in node.items]
        if node.kind == "map":
            return {key: self.build(value, depth + 1) for key, (_, value) in node.entries.items()}
        return node.value

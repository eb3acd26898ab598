"""A document as data: sections of paragraphs, tables, listings and pictures, for the two renderers.

The rule of this file: text is plain text. What stands in it is escaped by the renderer, so that nothing out of a record can become
markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What no document has: control characters, those that turn the direction of writing, halves of characters."""


class Code(msgspec.Struct, frozen=True):
    """A name, a value or a command within a sentence."""

    text: str


class Link(msgspec.Struct, frozen=True):
    """A reference to a section of this document, by its title."""

    title: str


class Strong(msgspec.Struct, frozen=True):
    text: str


Inline = str | Code | Link | Strong
Text = tuple[Inline, ...]
Words = str | Code | Link | Strong | Text
"""What the constructors below take for a text."""


class Paragraph(msgspec.Struct, frozen=True):
    text: Text


class Quote(msgspec.Struct, frozen=True):
    """What a person wrote, line by line."""

    lines: tuple[str, ...]


class Bullets(msgspec.Struct, frozen=True):
    items: tuple[Text, ...]


class Table(msgspec.Struct, frozen=True):
    head: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    numbers: tuple[int, ...] = ()
    """Columns that are set flush right."""


class Listing(msgspec.Struct, frozen=True):
    """Lines as they are: commands, a file."""

    text: str
    language: str = ""


class Drawing(msgspec.Struct, frozen=True):
    """A picture: as PNG where a page can show it, as lines of text elsewhere (none: it is left out there)."""

    title: str
    png: bytes
    lines: tuple[str, ...] = ()


class Folded(msgspec.Struct, frozen=True):
    """What is long and seldom wanted."""

    summary: str
    blocks: tuple[Block, ...]


class Section(msgspec.Struct, frozen=True):
    title: str
    blocks: tuple[Block, ...]
    level: int = 2


class Check(msgspec.Struct, frozen=True):
    """One item of the checklist."""

    number: int
    title: str
    evidence: str
    """complete, partial or none."""
    answer: Text
    sources: tuple[str, ...]
    """Titles of the sections that show it."""
    asked: str = ""
    """What the author is asked for; empty when nothing is missing from them."""


class Checks(msgspec.Struct, frozen=True):
    items: tuple[Check, ...]


Block = Paragraph | Quote | Bullets | Table | Listing | Drawing | Folded | Section | Checks


class Document(msgspec.Struct, frozen=True):
    title: str
    subtitle: str
    figures: tuple[tuple[str, str, str], ...]
    """The most important numbers: (label, value, remark)."""
    sections: tuple[Section, ...]


def text(*parts: Words) -> Text:
    """One text of several pieces."""
    found: list[Inline] = []
    for part in parts:
        found.extend(part if isinstance(part, tuple) else (part,))
    return tuple(found)


def paragraph(*parts: Words) -> Paragraph:
    return Paragraph(text(*parts))


def table(head: Sequence[str], rows: Sequence[Sequence[Words]], numbers: Sequence[int] = ()) -> Table:
    return Table(tuple(head), tuple(tuple(text(cell) for cell in row) for row in rows), tuple(numbers))


def bullets(items: Sequence[Words]) -> Bullets:
    return Bullets(tuple(text(item) for item in items))


def quote(words: str) -> Quote:
    return Quote(tuple(words.splitlines()) or ("",))


def slug(title: str) -> str:
    """The anchor that a forge gives a heading: lower case, what is no letter or digit left out, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")

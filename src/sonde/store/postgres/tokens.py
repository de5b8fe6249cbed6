"""The words of an SQL text, as PostgreSQL reads them: enough to see which functions it calls.

Text in quotes and comments says nothing; an identifier in quotes is one like any other.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\n\r\f\v]+|--[^\r\n]*)
  | (?P<comment>/\*)
  | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
  | (?P<plain>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<unicode>[uU]&"(?:[^"]|"")*")
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$)
  | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """``kind`` is word, quoted, unicode (an identifier with escapes), text or sign; ``name`` of a word is in lower case, that
    of a text says how it is quoted: plain, escaped or dollar."""

    kind: str
    name: str
    start: int


def tokens(text: str) -> Iterator[Token]:
    """All that is not space or comment, in order. What is left open at the end is one more sign; the server says what it
    thinks of it."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        assert found is not None, "one sign of any kind is a token"
        start, at = at, found.end()
        match found.lastgroup:
            case "space":
                pass
            case "comment":
                at = _end_of_comment(text, at)
            case "dollar":
                end = text.find(found[0], at)
                at = len(text) if end < 0 else end + len(found[0])
                yield Token("text", "dollar", start)
            case "escaped" | "plain" as kind:
                yield Token("text", kind, start)
            case "quoted":
                yield Token("quoted", found[0][1:-1].replace('""', '"'), start)
            case "word":
                yield Token("word", _folded(found[0]), start)
            case "unicode":
                yield Token("unicode", found[0], start)
            case _:
                yield Token("sign", found[0], start)


def called(found: list[Token]) -> set[str]:
    """The names before an opening bracket: functions, and words such as ``in``."""
    return {one.name for one, after in pairwise(found) if one.kind in {"word", "quoted"} and after[:2] == ("sign", "(")}


def goes_on(found: list[Token]) -> bool:
    """Whether a text with escapes has another behind it: PostgreSQL may read both as one, with escapes in the second too."""
    return any(one[:2] == ("text", "escaped") and after.kind == "text" for one, after in pairwise(found))


def _end_of_comment(text: str, at: int) -> int:
    """Comments of PostgreSQL lie in each other."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, at)
        if edge is None:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at


def _folded(word: str) -> str:
    """As PostgreSQL folds it: the letters of ASCII."""
    return "".join(chr(ord(sign) + 32) if "A" <= sign <= "Z" else sign for sign in word)

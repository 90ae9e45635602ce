"""Syntax-tree nodes of which compiled policies are built. Pure.

What an administrator wrote enters a function only as constants, under names of ours, never as text.
"""

import ast
from typing import Any


class Builder:
    """Collects constants and local variables under names of ours, and makes nodes."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self.preparation: dict[str, ast.stmt] = {}

    def constant(self, value: Any) -> ast.expr:
        """Return a node that stands for a value."""
        place = f"c{len(self.constants)}"
        self.constants[place] = value
        return name(place)

    def local(self, what: str, source: str, **used: Any) -> ast.expr:
        """Return a node for a local variable that is set once, at the beginning, by an expression of ours.

        `used` are the functions that the expression calls.
        """
        if what not in self.preparation:
            self.constants |= used
            self.preparation[what] = ast.parse(f"{what} = {source}").body[0]
        return name(what)


def name(word: str) -> ast.expr:
    """Return the node of a name."""
    return ast.Name(word, ast.Load())


def attribute(value: ast.expr, word: str) -> ast.expr:
    """Return the node of an attribute."""
    return ast.Attribute(value, word, ast.Load())


def call(function: ast.expr, *arguments: ast.expr) -> ast.expr:
    """Return the node of a call."""
    return ast.Call(function, list(arguments), [])


def is_in(value: ast.expr, values: ast.expr) -> ast.expr:
    """Return whether a value is one of some."""
    return ast.Compare(value, [ast.In()], [values])


def meets(one: ast.expr, other: ast.expr) -> ast.expr:
    """Return whether two sets have something in common."""
    return negate(call(attribute(one, "isdisjoint"), other))


def if_known(value: ast.expr, test: ast.expr, if_unknown: bool) -> ast.expr:
    """Return a test of a value that may be None, which is not known."""
    is_unknown = ast.Compare(value, [ast.Is()], [ast.Constant(None)])
    return ast.IfExp(is_unknown, ast.Constant(if_unknown), test)


def negate(test: ast.expr) -> ast.expr:
    """Return the opposite of a test."""
    return ast.UnaryOp(ast.Not(), test)


def every(tests: list[ast.expr]) -> ast.expr:
    """Return whether all tests hold; there is at least one."""
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)


def some(tests: list[ast.expr]) -> ast.expr:
    """Return whether one test holds; there is at least one."""
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), tests)

"""The expressions of constraints, such as `batch_size * accum <= 256`, read and evaluated by ourselves.

The rule of this file: a text is data. It is parsed by Python's parser and walked with a list of what is allowed, so that
nothing in it can call, look up or change anything; numbers are kept from growing without bound. What an expression cannot
compare is an error of its own kind and never Python's.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweep.core.conditions import INACTIVE
from sweep.core.constraints import ConstraintError
from sweep.core.equality import canonical

LONGEST = 1000
_DEEPEST = 50
_MOST_BITS = 2048

_Evaluate = Callable[[Sequence[Any]], Any]


class Constraint:
    """One expression over the parameters of a space."""

    def __init__(self, text: str, position_of: Mapping[str, int]) -> None:
        """`position_of`: where in a config's values each parameter stands, by dotted name. Raises ConstraintError."""
        self.text = text
        self.positions: set[int] = set()
        """Of the parameters that it names."""
        self._names = list(position_of)
        self._position_of = position_of
        self._evaluate = self._read(_parsed(text), 0)
        if not self.positions:
            raise ConstraintError("names no parameter")

    def holds(self, values: Sequence[Any]) -> bool:
        """Whether a config with these values, one per parameter of the space, satisfies it; one in which a parameter that
        it names is INACTIVE does. Raises ConstraintError when it cannot be evaluated."""
        if any(values[position] is INACTIVE for position in self.positions):
            return True
        result = self._evaluate(values)
        if not isinstance(result, bool):
            raise ConstraintError(
                f"gives {_said(result)}, and must be true or false; compare it with something"
            )
        return result

    def _read(self, node: ast.AST, depth: int) -> _Evaluate:
        if depth > _DEEPEST:
            raise ConstraintError("is nested too deeply")
        if isinstance(node, ast.Constant):
            return self._constant(node.value)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return self._parameter(_dotted(node))
        if isinstance(node, ast.UnaryOp):
            return _unary(node.op, self._read(node.operand, depth + 1))
        if isinstance(node, ast.BinOp):
            return _binary(node.op, self._read(node.left, depth + 1), self._read(node.right, depth + 1))
        if isinstance(node, ast.BoolOp):
            return _joined(node.op, [self._read(value, depth + 1) for value in node.values])
        if isinstance(node, ast.Compare):
            operands = [self._read(operand, depth + 1) for operand in (node.left, *node.comparators)]
            return _compared(node.ops, operands)
        if isinstance(node, ast.List | ast.Tuple):
            items = [self._read(item, depth + 1) for item in node.elts]
            return lambda values: [item(values) for item in items]
        raise ConstraintError(f"holds {_called(node)}, which a constraint cannot have{_ALLOWED}")

    def _constant(self, value: Any) -> _Evaluate:
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ConstraintError(f"holds a value of type {type(value).__name__}{_ALLOWED}")
        return lambda values: value  # noqa: ARG005

    def _parameter(self, name: str) -> _Evaluate:
        if name not in self._position_of:
            raise ConstraintError(f"there is no parameter `{name[:60]}`{self._meant(name)}")
        position = self._position_of[name]
        self.positions.add(position)
        return lambda values: values[position]

    def _meant(self, name: str) -> str:
        from difflib import get_close_matches

        if name.lower() in ("true", "false", "none", "null"):
            return f"; write `{({'null': 'None'}).get(name.lower(), name.capitalize())}`"
        inside = [known for known in self._names if known.startswith(f"{name}.")]
        ends = [known for known in self._names if known.endswith(f".{name}")]
        if inside:
            return f": it is a group; name a parameter in it, such as `{inside[0]}`"
        found = ends or get_close_matches(name, self._names, n=1, cutoff=0.6)
        return f"; did you mean `{found[0]}`?" if found else "; a text needs quotes"


_ALLOWED = "; it may have parameters, numbers, texts, lists, + - * / // % **, comparisons, and, or, not, in"


# --- reading ---------------------------------------------------------------------------------------------------


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ConstraintError(f"is longer than {LONGEST} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the text, to a console that is not its author's
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        hint = "; write `==` to compare" if "=" in text and "==" not in text else ""
        where = f" at character {error.offset}" if error.offset else ""
        raise ConstraintError(f"is no expression{where}{hint}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ConstraintError("is no expression that can be read") from None


def _dotted(node: ast.AST) -> str:
    """`optimizer.lr`, also as `config['optimizer.lr']`, for names that are no names in Python."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return ".".join([node.id, *reversed(parts)])
    if (
        isinstance(node, ast.Subscript)
        and not parts
        and isinstance(node.value, ast.Name)
        and node.value.id == "config"
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ):
        return node.slice.value
    raise ConstraintError(f"holds {_called(node)}, which a constraint cannot have{_ALLOWED}")


def _called(node: ast.AST) -> str:
    return {
        "Call": "a call",
        "Lambda": "a function",
        "IfExp": "an `if`",
        "Dict": "a mapping",
        "JoinedStr": "an f-string",
        "NamedExpr": "an assignment",
        "Subscript": "square brackets",
        "ListComp": "a loop",
        "GeneratorExp": "a loop",
        "Starred": "a `*` in front of a value",
    }.get(type(node).__name__, f"`{type(node).__name__}`")


# --- evaluating ------------------------------------------------------------------------------------------------

_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow),
}
_ORDER: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}


def _unary(op: ast.unaryop, operand: _Evaluate) -> _Evaluate:
    if isinstance(op, ast.Not):
        return lambda values: not _truth(operand(values), "not")
    if isinstance(op, ast.USub):
        return lambda values: -_number(operand(values), "-")
    if isinstance(op, ast.UAdd):
        return lambda values: _number(operand(values), "+")
    raise ConstraintError(f"holds `~`, which a constraint cannot have{_ALLOWED}")


def _binary(op: ast.operator, left: _Evaluate, right: _Evaluate) -> _Evaluate:
    if type(op) not in _ARITHMETIC:
        raise ConstraintError(f"holds `{type(op).__name__}`, which a constraint cannot have{_ALLOWED}")
    sign, compute = _ARITHMETIC[type(op)]
    return lambda values: _computed(sign, compute, _number(left(values), sign), _number(right(values), sign))


def _computed(sign: str, compute: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if sign == "**" and abs(b) * max(math.frexp(abs(float(a)))[1], 1) > _MOST_BITS:
        raise ConstraintError(f"{a:g} ** {b:g} is too large")
    try:
        result = compute(a, b)
    except ZeroDivisionError:
        raise ConstraintError(f"divides {a:g} by 0") from None
    except OverflowError:
        raise ConstraintError("gives a number that is too large") from None
    if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > _MOST_BITS):
        raise ConstraintError("gives a number that is too large, or none")
    return result


def _joined(op: ast.boolop, operands: list[_Evaluate]) -> _Evaluate:
    if isinstance(op, ast.And):
        return lambda values: all(_truth(operand(values), "and") for operand in operands)
    return lambda values: any(_truth(operand(values), "or") for operand in operands)


def _compared(ops: list[ast.cmpop], operands: list[_Evaluate]) -> _Evaluate:
    checks = [_comparison(op) for op in ops]

    def evaluate(values: Sequence[Any]) -> bool:
        left = operands[0](values)
        for check, operand in zip(checks, operands[1:], strict=True):
            right = operand(values)
            if not check(left, right):
                return False
            left = right
        return True

    return evaluate


def _comparison(op: ast.cmpop) -> Callable[[Any, Any], bool]:
    if type(op) in _ORDER:
        sign, compare = _ORDER[type(op)]
        return lambda a, b: bool(compare(*_alike(a, b, sign)))
    if isinstance(op, ast.Eq | ast.Is):
        return lambda a, b: canonical(a) == canonical(b)
    if isinstance(op, ast.NotEq | ast.IsNot):
        return lambda a, b: canonical(a) != canonical(b)
    if isinstance(op, ast.In):
        return _contains
    return lambda a, b: not _contains(a, b)


def _contains(item: Any, listed: Any) -> bool:
    if not isinstance(listed, list | tuple):
        raise ConstraintError(f"`in` needs a list on its right, not {_said(listed)}")
    return canonical(item) in {canonical(value) for value in listed}


def _alike(a: Any, b: Any, sign: str) -> tuple[Any, Any]:
    if isinstance(a, str) and isinstance(b, str):
        return a, b
    if _is_number(a) and _is_number(b):
        return a, b
    raise ConstraintError(f"`{sign}` cannot compare {_said(a)} with {_said(b)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any, sign: str) -> Any:
    if _is_number(value):
        return value
    raise ConstraintError(f"`{sign}` needs numbers, not {_said(value)}")


def _truth(value: Any, word: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConstraintError(f"`{word}` needs what is true or false, not {_said(value)}")


def _said(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return f"the text '{value[:40]}'"
    if _is_number(value):
        return f"the number {value:g}" if abs(value) < 1e300 else "a very large number"
    return "a list" if isinstance(value, list | tuple) else "a mapping"

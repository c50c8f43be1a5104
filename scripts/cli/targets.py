"""What a `_target_` may name, and which options it takes, read from its source.

A target is a class, or a partial of one, written in this project's packages or in torch.optim and
torch.nn. It is found by parsing, not by importing: a configuration is checked in milliseconds, and
one from a stranger has run nothing when it is refused.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import short

ALLOWED = ("attn.", "models.", "engine.", "torch.optim.", "torch.nn.")


class UnknownTarget(LookupError):
    """No such class, or none that a configuration may name."""


class BrokenSource(UnknownTarget):
    """The file of the class is no Python; the message begins with file and line."""


@functools.cache
def options(target: str) -> tuple[str, ...]:
    """The names of the options of `target`; UnknownTarget where it may not be named."""
    if not target.startswith(ALLOWED):
        raise UnknownTarget(f"{target} is not allowed; a target begins with {', '.join(ALLOWED)}")
    module, _, name = target.rpartition(".")
    if _path(module) is None:
        raise UnknownTarget(f"{target}: there is no file {module.replace('.', '/')}.py")
    found = _find(module, name)
    if found is None or isinstance(found[1], ast.FunctionDef):
        there = ", ".join(s.name for s in _parse(module).body if isinstance(s, ast.ClassDef))
        has = f"; {short(_path(module))} has {there}" if there else ""
        raise UnknownTarget(f"{target} is not a class of {module}{has}")
    return tuple(name for name, _ in _parameters(*found))


def takes_mapping(target: str, option: str) -> bool:
    """Whether the constructor annotates the option as a Mapping, whose keys are free."""
    module, _, name = target.rpartition(".")
    return dict(_parameters(*_find(module, name))).get(option, "").startswith("Mapping[")


def defaults(target: str) -> dict[str, Any]:
    """The default of each field of the dataclass `target` that has a literal as its default."""
    module, _, name = target.rpartition(".")
    _, statement = _find(module, name)
    found = {}
    for field in statement.body:
        if isinstance(field, ast.AnnAssign) and field.value:
            with suppress(ValueError):  # the value is not a literal, such as field(...)
                found[field.target.id] = ast.literal_eval(field.value)
    return found


def documentation(target: str) -> tuple[str, str]:
    """The first paragraph of the file that defines `target`, and the docstring of its class.

    UnknownTarget as in `options`.
    """
    options(target)
    module, statement = _find(*target.rpartition(".")[::2])
    if isinstance(statement, ast.Assign):  # a partial of a class
        module, statement = _find(module, statement.value.args[0].id)
    of_file = ast.get_docstring(_parse(module)) or ""
    return of_file.split("\n\n")[0], ast.get_docstring(statement) or ""


def _find(module: str, name: str) -> tuple[str, ast.stmt] | None:
    """(module, statement) that defines `name`, followed through imports inside ALLOWED."""
    tree = _parse(module)
    for statement in tree.body if tree else ():
        if _defines(statement, name):
            return module, statement
        for source, original in _imports(module, statement, name):
            if f"{source}.".startswith(ALLOWED) and (found := _find(source, original)):
                return found
    return None


def _defines(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return statement.name == name
    return (
        isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Call)
        and getattr(statement.value.func, "id", None) == "partial"
        and name in [getattr(t, "id", None) for t in statement.targets]
    )


def _imports(module: str, statement: ast.stmt, name: str) -> Iterator[tuple[str, str]]:
    """Where an import statement takes `name` from: (module, its name there)."""
    if not isinstance(statement, ast.ImportFrom):
        return
    source = statement.module or ""
    if statement.level:
        package = module if _path(module).name == "__init__.py" else module.rpartition(".")[0]
        source = importlib.util.resolve_name("." * statement.level + source, package)
    for alias in statement.names:
        if alias.name == "*":
            yield source, name
        elif (alias.asname or alias.name) == name:
            yield source, alias.name


def _parameters(module: str, statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """The options of a class (its constructor's, or its fields), a function, or a partial.

    Each with its annotation, as it is written.
    """
    if isinstance(statement, ast.Assign):
        yield from _parameters(*_find(module, statement.value.args[0].id))
    elif isinstance(statement, ast.FunctionDef):
        arguments = [*statement.args.posonlyargs, *statement.args.args, *statement.args.kwonlyargs]
        yield from ((a.arg, _written(a.annotation)) for a in arguments if a.arg != "self")
    elif init := [f for f in statement.body if getattr(f, "name", None) == "__init__"]:
        yield from _parameters(module, init[0])
    else:
        if any("dataclass" in ast.unparse(d) for d in statement.decorator_list):
            fields = [f for f in statement.body if isinstance(f, ast.AnnAssign)]
            yield from ((field.target.id, _written(field.annotation)) for field in fields)
        for base in statement.bases:
            if found := _find(module, getattr(base, "id", "")):
                yield from _parameters(*found)


def _written(annotation: ast.expr | None) -> str:
    return "" if annotation is None else ast.unparse(annotation)


@functools.cache
def _parse(module: str) -> ast.Module | None:
    path = _path(module)
    try:
        return ast.parse(path.read_text(encoding="utf-8")) if path else None
    except SyntaxError as error:
        where = f"{short(path)}:{error.lineno}"
        raise BrokenSource(f"{where}: {type(error).__name__}: {error.msg}") from error


@functools.cache
def _path(module: str) -> Path | None:
    """The file of a module below ALLOWED, without importing it or the packages above it."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for folder in spec.submodule_search_locations or () if spec else ():
        base = Path(folder, *rest)
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
    return None

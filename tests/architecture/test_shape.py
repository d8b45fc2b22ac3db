# SPDX-License-Identifier: Apache-2.0
"""Limits of size, names that mean nothing, headers, and words that must not be in the repository."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.architecture.source import ROOT, files, modules, name_of, tree

ALL = ("coriolis", "demo", "tools", "bench", "tests", "doc")
PRODUCT = ("coriolis", "demo", "tools", "bench")
MODULE_LINES = 500
FUNCTION_LINES = 50
DRAWERS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "base", "misc", "stuff", "lib"}
TEXT = {".py", ".rst", ".md", ".cfg", ".toml", ".ini", ".txt", ".yaml", ".yml", ".sh", ".json", ".sql", ".in", ".conf"}
# Written so that this file does not match itself.
LEAKS = (
    r"/(w)ork/",
    r"/(r)oot/",
    r"\.\./(s)hared",
    r"\bpy(p)i\.(org|python)",
    r"python(h)osted\.",
    r"registry\.(n)pmjs",
    r"proxy\.(g)olang",
    r"deb\.(d)ebian\.org",
)
UNFINISHED = r"\b(T(O)DO|FI(X)ME|X(X)X|HA(C)K)\b"


def _function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring: explaining must not cost."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_modules_are_short() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in modules(*ALL)}
    assert {name: lines for name, lines in sizes.items() if lines > MODULE_LINES} == {}


def test_functions_fit_on_a_screen() -> None:
    long = {}
    for path in modules(*PRODUCT):
        if "alembic/versions" in path.as_posix():  # a schema is one long table
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _function_lines(node)
                if lines > FUNCTION_LINES:
                    long[f"{name_of(path)}.{node.name}"] = lines
    assert long == {}


def test_module_names_say_what_they_exclude() -> None:
    drawers = [name_of(path) for path in modules(*ALL) if set(name_of(path).split(".")) & DRAWERS]
    assert drawers == []


def test_each_module_says_its_licence_and_purpose() -> None:
    bare = []
    for path in modules(*ALL):
        text = path.read_text()
        if not text.startswith("# SPDX-License-Identifier: Apache-2.0\n"):
            bare.append(f"{name_of(path)}: no SPDX line at the top")
        if not ast.get_docstring(tree(path)):
            bare.append(f"{name_of(path)}: no docstring")
        if _has_code(path) and "from __future__ import annotations\n" not in text:
            bare.append(f"{name_of(path)}: no annotations from the future")
    assert bare == []


def _has_code(path: Path) -> bool:
    """Whether there is more than a docstring, re-exports and `__all__`."""
    plain = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
    return not all(isinstance(node, plain) for node in tree(path).body)


def test_configuration_is_passed_in() -> None:
    """oslo.config's process-wide object makes tests and two services in one process share their options."""
    users = []
    for path in modules("coriolis"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and node.attr == "CONF":
                users.append(f"{name_of(path)}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "CONF" for alias in node.names):
                users.append(f"{name_of(path)}:{node.lineno}")
    assert users == []


def test_nothing_is_left_unfinished() -> None:
    found = [hit for path in modules(*PRODUCT) for hit in _hits(path, UNFINISHED)]
    for path in modules(*PRODUCT):
        if "providers/contract/" in path.as_posix():  # hooks of the suite that a plugin's test class fills
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
                found.append(f"{name_of(path)}:{node.lineno} NotImplementedError")
    assert found == []


def test_no_path_or_address_of_a_developer() -> None:
    texts = [path for path in files() if path.suffix in TEXT or not path.suffix]
    assert [hit for path in texts for pattern in LEAKS for hit in _hits(path, pattern)] == []


def _hits(path: Path, pattern: str) -> list[str]:
    lines = path.read_text(errors="replace").splitlines()
    place = path.relative_to(ROOT)
    return [f"{place}:{number} {line.strip()[:80]}" for number, line in enumerate(lines, 1) if re.search(pattern, line)]

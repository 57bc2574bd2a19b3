#!/usr/bin/env python3
"""No file imports in a circle: fails, and shows them, if files of a crate import each other in a ring.

    ci/import-circles.py            every crate of the workspace
    ci/import-circles.py DIRECTORY  the crate there

An import is a `use` of a path that begins with crate, self, super or a module of the crate, or a path
that begins with crate, self or super where it stands in code. It counts for the file that defines the
name, through re-exports. A module that calls what its own submodule offers (`build::plan(request)`) does
not count. Tests (`#[cfg(test)]` modules and files) may look at everything, and do not count. `mod name;`
alone is no import, and neither is `pub use` of what a file's own submodules define: both only say where
things are.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def without_comments(text):
    """Blank out comments and the insides of strings; lines stay where they are."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|\'(?:\\.[^\']*|[^\'\\])\'', re.S
    )
    return token.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def matching(text, start):
    """The end of the block whose brace is at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    return len(text)


TEST = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?([^;{]*)([;{])")


def without_tests(text):
    """Blank out what exists for tests only; the names of files that do."""
    files = set()
    while match := TEST.search(text):
        end = match.end() if match.group(2) == ";" else matching(text, match.end() - 1)
        if module := re.fullmatch(r"mod\s+(\w+)\s*", match.group(1)):
            if match.group(2) == ";":
                files.add(module.group(1))
        blank = re.sub(r"[^\n]", " ", text[match.start() : end])
        text = text[: match.start()] + blank + text[end:]
    return text, files


class File:
    def __init__(self, path, module, text):
        self.path, self.module = path, module
        self.text, self.test_modules = without_tests(without_comments(text))
        self.modules = set(re.findall(r"\bmod\s+(\w+)\s*;", self.text))
        # Names that it takes from elsewhere: name -> path.
        self.taken, self.globs = {}, []


def expand(tree):
    """`a::{b, c::d}` as its paths, with the names that they get."""
    tree = tree.strip()
    if match := re.match(r"([^{}]*)\{(.*)\}$", tree, re.S):
        depth, part, parts = 0, "", []
        for char in match.group(2):
            depth += {"{": 1, "}": -1}.get(char, 0)
            if char == "," and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += char
        parts.append(part)
        for part in filter(str.strip, parts):
            for path, name in expand(part):
                whole = (match.group(1).strip() + path).removesuffix("::self")
                yield whole, name if name != "self" else whole.rsplit("::", 1)[-1]
        return
    path, _, name = tree.partition(" as ")
    path = re.sub(r"\s", "", path)
    yield path, name.strip() or path.rsplit("::", 1)[-1]


def read(source):
    """The files of the crate at `source`, by module path."""
    files, todo = {}, []
    for root in ("lib.rs", "main.rs"):
        if (source / root).is_file():
            todo.append((source / root, (), source))
    while todo:
        path, module, directory = todo.pop()
        file = File(path, module, path.read_text())
        files.setdefault(module, file)
        for name in file.modules - file.test_modules:
            for candidate in (directory / f"{name}.rs", directory / name / "mod.rs"):
                if candidate.is_file():
                    todo.append((candidate, (*module, name), directory / name))
    return files


def absolute(file, path, files):
    """The path from the crate's root, or None for what is of another crate."""
    first, *rest = path.split("::")
    module = list(file.module)
    if first == "crate":
        return rest
    if first == "self":
        return module + rest
    if first == "super":
        while path.split("::")[0] == "super":
            module, path = module[:-1], path.partition("::")[2]
        return module + path.split("::")
    if (*module, first) in files:
        return module + [first, *rest]
    return None


def definers(files, path, seen=()):
    """The files that define what is at `path`: usually one, none for a module that is only named."""
    module = ()
    while path and (*module, path[0]) in files:
        module, path = (*module, path[0]), path[1:]
    file = files.get(module)
    if file is None or not path or path == ["*"]:
        return {module} if path else set()
    name = path[0]
    if (module, name) in seen:
        return set()
    seen = (*seen, (module, name))
    if name in file.taken:
        taken = absolute(file, file.taken[name], files)
        return definers(files, taken + path[1:], seen) if taken is not None else set()
    if not re.search(rf"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!|mod)\s+(?:mut\s+)?{name}\b", file.text):
        for glob in file.globs:
            inside = absolute(file, glob, files)
            if inside is not None:
                return definers(files, inside + path, seen)
    return {module}


USE = re.compile(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);")
INLINE = re.compile(r"(?<![\w:])((?:crate|super|self)(?:::\w+)+)")


def imports(file, files):
    """What the file imports: module path of a file -> line."""
    found = {}

    def note(path, at, public):
        whole = absolute(file, path, files)
        if whole is None:
            return
        for module in definers(files, whole):
            inside = module[: len(file.module)] == file.module and len(module) > len(file.module)
            if module != file.module and not (public and inside):
                found.setdefault(module, file.text.count("\n", 0, at) + 1)

    for match in USE.finditer(file.text):
        for path, _ in expand(match.group(2)):
            note(path, match.start(2), bool(match.group(1)))
    rest = USE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), file.text)
    for match in INLINE.finditer(rest):
        note(match.group(1), match.start(), False)
    return found


def circles(graph):
    """The strongly connected parts of more than one file (Tarjan, without recursion)."""
    index, low, stack, on, found = {}, {}, [], set(), []
    for start in graph:
        work = [(start, iter(graph[start]))] if start not in index else []
        if work:
            index[start] = low[start] = len(index)
            stack.append(start)
            on.add(start)
        while work:
            node, rest = work[-1]
            for follower in rest:
                if follower not in index:
                    index[follower] = low[follower] = len(index)
                    stack.append(follower)
                    on.add(follower)
                    work.append((follower, iter(graph[follower])))
                    break
                if follower in on:
                    low[node] = min(low[node], index[follower])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while not part or part[-1] != node:
                        part.append(stack.pop())
                        on.discard(part[-1])
                    if len(part) > 1:
                        found.append(sorted(part))
    return found


def check(crate):
    files = read(crate / "src")
    for file in files.values():
        for match in USE.finditer(file.text):
            for path, name in expand(match.group(2)):
                if path.endswith("::*"):
                    file.globs.append(path.removesuffix("::*"))
                else:
                    file.taken[name] = path
    graph = {module: imports(file, files) for module, file in files.items()}
    for circle in circles(graph):
        print(f"{crate.name}: {len(circle)} files import in a circle:")
        for module in circle:
            for other, line in sorted(graph[module].items()):
                if other in circle:
                    here = files[module].path.relative_to(crate)
                    print(f"    {here}:{line} imports of {files[other].path.relative_to(crate)}")
    return not circles(graph)


if __name__ == "__main__":
    given = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]]
    crates = given or sorted(path.parent for path in ROOT.glob("*/Cargo.toml"))
    sys.exit(0 if all([check(crate) for crate in crates]) else 1)

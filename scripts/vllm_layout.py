#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads vLLM's wire layouts from its source: every struct that crosses a socket, as data.

    python3 scripts/vllm_layout.py VLLM             prints the layout of a tree, wheel or sdist
    python3 scripts/vllm_layout.py --store VLLM...  writes them all to tests/tools/layouts/

It parses the source of vLLM, and does not import or run it. A layout has
    release     "0.33.0", or "" where the source does not say
    structs     name -> file, kind (struct, dataclass, namedtuple), array_like, omit_defaults, tag,
                forbid_unknown_fields, and the fields in their order: "name: type" when required,
                "name: type = default" otherwise
    enums       name -> {member: value}
    aliases     name -> type
    constants   name -> value
    handshake   the keys of HELLO and READY, and those that the front-end reads
    utility     method that a front-end calls -> what it returns ("" where it does not say)
    sockets     "file function" -> the calls that make sockets, set options and send

The stored file of the newest release has all of this. The file of an older release has its
differences from the next newer one ("newer"); null means that it does not exist yet.
"""

import ast
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

STORE = Path(__file__).resolve().parent.parent / "tests/tools/layouts"
FOLDERS = ("vllm/", "examples/", "tests/", "rust/")

ENGINE = "vllm/v1/engine/__init__.py"
UTILS = "vllm/v1/engine/utils.py"
CORE = "vllm/v1/engine/core.py"
CLIENT = "vllm/v1/engine/core_client.py"
COORDINATOR = "vllm/v1/engine/coordinator.py"
KV_EVENTS = "vllm/distributed/kv_events.py"
SERIAL = "vllm/v1/serial_utils.py"
# make_zmq_socket has moved twice
NETWORK = ("vllm/utils/network_utils.py", "vllm/utils/__init__.py", "vllm/utils.py")

# A class of each file: if the file is gone, it has moved to where that class is
MARKS = {
    ENGINE: "EngineCoreRequest", UTILS: "EngineHandshakeMetadata", CORE: "EngineCoreProc",
    CLIENT: "MPClient", COORDINATOR: "DPCoordinatorProc", KV_EVENTS: "ZmqEventPublisher",
    SERIAL: "MsgpackEncoder",
}  # fmt: skip

# Where each release from v0.9 on has what crosses a socket; the rest is found from their fields
ROOTS = {
    ENGINE: ("EngineCoreRequestType", "EngineCoreRequest", "EngineCoreOutputs",
             "EngineCoreReadyResponse"),
    UTILS: ("EngineHandshakeMetadata",),
    KV_EVENTS: ("KVEventBatch",),
}  # fmt: skip
CONSTANTS = {
    CORE: ("ENGINE_CORE_DEAD", "HANDSHAKE_TIMEOUT_MINS"),
    UTILS: ("STARTUP_POLL_PERIOD_MS",),
    ENGINE: ("FINISH_REASON_STRINGS", "EEP_NOTIFICATION_CALL_ID", "FT_STATUS_CALL_ID"),
    KV_EVENTS: ("END_SEQ",),
    SERIAL: ("CUSTOM_TYPE_PICKLE", "CUSTOM_TYPE_CLOUDPICKLE", "CUSTOM_TYPE_RAW_VIEW"),
}
# Files whose functions are searched for calls to sockets; of NETWORK only these functions
SOCKET_FILES = (CORE, CLIENT, COORDINATOR, UTILS, KV_EVENTS)
SOCKET_FUNCTIONS = ("make_zmq_socket", "make_zmq_listener", "zmq_socket_ctx")
SOCKET_CALLS = {
    "make_zmq_socket", "make_zmq_listener", "zmq_socket_ctx", "socket", "setsockopt", "set_hwm",
    "set", "bind", "connect", "send", "send_multipart", "to_bytes",
}  # fmt: skip
# Images and audio: tensors that no program here looks at
NOT_FOLLOWED = ("vllm/multimodal/",)


class Source:
    """A vLLM tree, wheel or sdist: its files by their path in the repository."""

    def __init__(self, path):
        self.path = Path(path)
        is_wheel = self.path.suffix == ".whl"
        self.is_package = is_wheel or self.path.name in ("site-packages", "dist-packages")
        self._texts, self._trees = {}, {}
        if self.path.is_dir():
            found = [self.path / "PKG-INFO"]
            for folder in FOLDERS:
                found += (self.path / folder).glob("**/*.*")
            self._names = {str(p.relative_to(self.path)) for p in found if p.is_file()}
            self._read = lambda name: (self.path / name).read_text("utf-8")
        elif is_wheel:
            archive = zipfile.ZipFile(self.path)
            self._names = set(archive.namelist())
            self._read = lambda name: archive.read(name).decode("utf-8")
        else:
            self._texts = dict(self._unpack())
            self._names = set(self._texts)

    def _unpack(self):
        with tarfile.open(self.path) as archive:
            for member in archive:
                name = member.name.partition("/")[2]
                if member.isfile() and (
                    name == "PKG-INFO"
                    or (name.startswith(FOLDERS) and name.endswith((".py", ".rs", ".md")))
                ):
                    yield name, archive.extractfile(member).read().decode("utf-8", "replace")

    def has(self, name):
        """True for a file; for a folder too."""
        return name in self._names or any(n.startswith(f"{name.rstrip('/')}/") for n in self._names)

    def is_file(self, name):
        return name in self._names

    def text(self, name):
        if name not in self._texts:
            self._texts[name] = self._read(name)
        return self._texts[name]

    def tree(self, name):
        """The parsed module. SyntaxError when this Python cannot."""
        if name not in self._trees:
            self._trees[name] = ast.parse(self.text(name))
        return self._trees[name]

    def python_files(self):
        return sorted(n for n in self._names if n.startswith("vllm/") and n.endswith(".py"))

    def release(self):
        match = re.search(r"vllm-(\d+\.\d+\.\d+(?:\.?(?:rc|post|dev)\d+)?)", self.path.name)
        if match:
            return match[1]
        for name in ("PKG-INFO", "vllm/_version.py"):
            if self.is_file(name):
                match = re.search(
                    r"^(?:Version: |__version__ = .*['\"])(\d+\.\d+\.\d+)", self.text(name), re.M
                )
                if match:
                    return match[1]
        return ""


def module_file(source, module):
    """The path of vllm.a.b, or None."""
    stem = module.replace(".", "/")
    return next(filter(source.is_file, (f"{stem}.py", f"{stem}/__init__.py")), None)


def assigned(node):
    """The names to which a statement assigns."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def defined(node, name):
    """What a module, class or function defines as `name` in its body, also under if, try, with."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if child.name == name:
                return child
        elif name in assigned(child):
            return child
        elif isinstance(child, (ast.stmt, ast.excepthandler)):
            found = defined(child, name)
            if found:
                return found
    return None


def defines(source, path, names):
    """Whether a Python file defines names[0], in that names[1], ... SyntaxError: it is no Python."""
    node = source.tree(path)
    for name in names:
        node = node and defined(node, name)
    return node is not None


def moved_to(source, names):
    """The first file that defines the symbol, or None."""
    if not names[0][0].isupper() and "_" not in names[0]:
        return None  # main, run: too many files have one
    head = re.compile(rf"^(?:class|def|async def) {names[0]}\b|^{names[0]}\b.*=", re.M)
    for path in source.python_files():
        try:
            if head.search(source.text(path)) and defines(source, path, names):
                return path
        except (SyntaxError, UnicodeDecodeError):
            pass
    return None


def find(source, file, name, depth=0):
    """(file, node) of what a module calls `name`: its own, or what it imports of vllm."""
    try:
        tree = source.tree(file)
    except SyntaxError:
        return None
    node = defined(tree, name)
    if node:
        return file, node
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm"):
            for alias in node.names:
                if (alias.asname or alias.name) == name and depth < 4:
                    other = module_file(source, node.module)
                    return other and find(source, other, alias.name, depth + 1)
    return None


def last_name(node):
    """c of a.b.c"""
    return ast.unparse(node).rpartition(".")[2]


def type_text(node):
    """A type in today's spelling: Optional[X] is X | None, and List[X] is list[X]."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return type_text(ast.parse(node.value, mode="eval").body)
    if isinstance(node, ast.Subscript):
        head = last_name(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Optional":
            return f"{type_text(inner[0])} | None"
        if head == "Union":
            return " | ".join(map(type_text, inner))
        if head == "Annotated":
            return type_text(inner[0])
        if head == "Literal":
            return f"Literal[{', '.join(map(ast.unparse, inner))}]"
        head = {"List": "list", "Dict": "dict", "Tuple": "tuple", "Set": "set"}.get(head, head)
        return f"{head}[{', '.join(map(type_text, inner))}]"
    if isinstance(node, ast.BinOp):
        return f"{type_text(node.left)} | {type_text(node.right)}"
    if isinstance(node, ast.List):
        return f"[{', '.join(map(type_text, node.elts))}]"
    return ast.unparse(node)


def names_in(text):
    return re.findall(r"(?<![\w.'\"])[A-Za-z_]\w*(?![\w.'\"])", text)


def default_text(value):
    """The default of a field, or None when it has none."""
    if isinstance(value, ast.Call) and last_name(value.func).lower() == "field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        if "default" in given:
            return ast.unparse(given["default"])
        if "default_factory" in given:
            return ast.unparse(given["default_factory"]) + "()"
        positional = value.args and ast.unparse(value.args[0])
        return positional if positional and positional != "..." else None
    return ast.unparse(value)


# Which bases make a class one of our kinds
KINDS = {"Enum": "enum", "IntEnum": "enum", "StrEnum": "enum", "Struct": "struct",
         "NamedTuple": "namedtuple"}  # fmt: skip


class Reader:
    def __init__(self, source):
        self.source = source
        self.structs, self.enums, self.aliases = {}, {}, {}

    def add(self, file, name):
        """What `name` means in that file, and all that its fields need."""
        if name in self.structs or name in self.enums or name in self.aliases:
            return
        found = find(self.source, file, name)
        if not found or found[0].startswith(NOT_FOLLOWED):
            return
        file, node = found
        if isinstance(node, ast.ClassDef):
            self.add_class(file, node)
            return
        value = getattr(node, "value", None)
        if isinstance(value, ast.Call):  # NewType("X", bytes)
            value = value.args[1] if len(value.args) == 2 else None
        if isinstance(value, (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute)):
            self.aliases[name] = type_text(value)
            self.follow(file, self.aliases[name])

    def follow(self, file, text):
        for name in names_in(text):
            self.add(file, name)

    def bases(self, file, node):
        for base in node.bases:
            name = last_name(base)
            found = find(self.source, file, name) if isinstance(base, ast.Name) else None
            if found and isinstance(found[1], ast.ClassDef):
                yield found[0], found[1]

    def kind(self, file, node):
        kinds = [KINDS[name] for name in map(last_name, node.bases) if name in KINDS]
        calls = (getattr(decorator, "func", decorator) for decorator in node.decorator_list)
        if not kinds and {"dataclass", "config"} & set(map(last_name, calls)):
            kinds = ["dataclass"]
        kinds = kinds or filter(None, (self.kind(*base) for base in self.bases(file, node)))
        return next(iter(kinds), None)

    def describe(self, file, node):
        """(settings, fields) of a struct, with those that it inherits."""
        settings, fields = {}, {}
        for base_file, base in self.bases(file, node):
            if self.kind(base_file, base) in ("struct", "dataclass"):
                above, inherited = self.describe(base_file, base)
                settings.update(above)
                fields.update(inherited)
        for keyword in node.keywords:
            settings[keyword.arg] = ast.unparse(keyword.value)
        for item in node.body:
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            text = type_text(item.annotation)
            if text.startswith(("ClassVar", "InitVar")):
                continue
            default = None if item.value is None else default_text(item.value)
            fields[item.target.id] = (file, text, default)
        return settings, fields

    def add_class(self, file, node):
        kind = self.kind(file, node)
        if kind == "enum":
            self.enums[node.name] = {
                name: ast.unparse(item.value)
                for item in node.body
                if isinstance(item, ast.Assign)
                for name in assigned(item)
            }
        if kind in (None, "enum"):
            return
        settings, fields = self.describe(file, node)
        layout = {"file": file, "kind": kind}
        for name in ("array_like", "omit_defaults", "forbid_unknown_fields"):
            if settings.get(name) == "True":
                layout[name] = True
        tag = settings.get("tag", "None")
        if tag not in ("False", "None"):
            layout["tag"] = node.name if tag == "True" else tag
        for name in ("rename", "tag_field", "kw_only"):
            if settings.get(name, "False") != "False":
                layout[name] = settings[name]
        layout["fields"] = [
            f"{name}: {text}" if default is None else f"{name}: {text} = {default}"
            for name, (_, text, default) in fields.items()
        ]
        self.structs[node.name] = layout
        for declared_in, text, _ in fields.values():
            self.follow(declared_in, text)


def functions(node, prefix=""):
    """(qualified name, node) of each function."""
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{prefix}{child.name}."
            if not isinstance(child, ast.ClassDef):
                yield inner[:-1], child
        yield from functions(child, inner)


def own_calls(node):
    """The calls of a function, in their order, without those of functions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from own_calls(child)


def about_sockets(call):
    """The call as text when it makes a socket, sets an option, sends or makes bytes of a number."""
    name, text = ast.unparse(call.func), ast.unparse(call)
    last = name.rpartition(".")[2]
    if last not in SOCKET_CALLS or last in ("send", "bind", "connect") and "." not in name:
        return None
    if last == "socket" and not (call.args and "zmq." in ast.unparse(call.args[0])):
        return None
    return None if last == "set" and "zmq." not in text else text


def functions_of(source, file):
    """The functions of a file, or of the one to which it has moved."""
    there = now_at(source, file)
    return functions(source.tree(there)) if there else ()


def sockets_of(source):
    found = {}
    for file in (*SOCKET_FILES, *NETWORK):
        for name, node in functions_of(source, file):
            calls = [text for text in map(about_sockets, own_calls(node)) if text]
            if calls and file in SOCKET_FILES:
                found[f"{file} {name}"] = calls
            elif calls and name in SOCKET_FUNCTIONS:
                found[name] = calls
    return found


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def utility_of(source):
    """The methods of the engine that a front-end calls by their names."""
    found = {}
    for _, node in functions_of(source, CLIENT):
        for call in own_calls(node):
            last = last_name(call.func)
            method = constant(call.args[0]) if call.args else None
            if "call_utility" in last and isinstance(method, str):
                returns = type_text(node.returns) if node.returns else ""
                found[method] = found.get(method) or returns
    return dict(sorted(found.items()))


def handshake_of(source):
    """Keys of the dicts with a status in core.py, and those that the front-end reads of them."""
    sent, read = {}, {}
    for name, node in functions_of(source, CORE):
        for item in ast.walk(node):
            keys = [constant(key) for key in item.keys] if isinstance(item, ast.Dict) else []
            if "status" in keys:
                sent[constant(item.values[keys.index("status")]) or "?"] = [k for k in keys if k]
        for item in ast.walk(node) if name.endswith("_perform_handshake") else ():
            # ready_msg["parallel_config_hash"] = ...
            if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Subscript):
                key = constant(item.targets[0].slice)
                if isinstance(key, str) and key not in sent.get("READY", [key]):
                    sent["READY"].append(key)
    for name, node in functions_of(source, UTILS):
        for item in ast.walk(node) if name == "wait_for_engine_startup" else ():
            if isinstance(item, ast.Subscript) and ast.unparse(item.value) == "msg":
                if isinstance(item.slice, ast.Constant):
                    read[item.slice.value] = "required"
            if isinstance(item, ast.Call) and ast.unparse(item.func) == "msg.get":
                read.setdefault(item.args[0].value, "optional")
    return {"sent": dict(sorted(sent.items())), "read": dict(sorted(read.items()))}


def constants_of(source):
    found = {}
    for file, names in CONSTANTS.items():
        there = now_at(source, file)
        for node in ast.walk(source.tree(there)) if there else ():
            if getattr(node, "value", None):
                value = {name: ast.unparse(node.value) for name in assigned(node) if name in names}
                found.update(value)
    return found


def where(source, file, name):
    """The file that defines a class by now, when it is no longer in `file`."""
    if source.is_file(file) and find(source, file, name):
        return file
    return moved_to(source, [name])


def now_at(source, file):
    """The file that by now has what `file` had, or None."""
    there = file in MARKS and where(source, file, MARKS[file])
    if there:
        return find(source, there, MARKS[file])[0]
    return file if source.is_file(file) else None


def moved_files(source):
    """(file, where it is by now) of each that has moved."""
    places = [(file, now_at(source, file)) for file in MARKS]
    return [(file, there) for file, there in places if there and there != file]


def layout_of(source):
    reader = Reader(source)
    for file, names in ROOTS.items():
        for name in names:
            found = where(source, file, name)
            if found:
                reader.add(found, name)
    return {
        "release": source.release(),
        "structs": dict(sorted(reader.structs.items())),
        "enums": dict(sorted(reader.enums.items())),
        "aliases": dict(sorted(reader.aliases.items())),
        "constants": dict(sorted(constants_of(source).items())),
        "handshake": handshake_of(source),
        "utility": utility_of(source),
        "sockets": dict(sorted(sockets_of(source).items())),
    }


def version(release):
    return tuple(map(int, re.findall(r"\d+", release)[:3]))


def fields_of(struct):
    """[(name, type, default or None)] of a struct of a layout."""
    found = []
    for text in struct["fields"]:
        declared, _, default = text.partition(" = ")
        name, _, kind = declared.partition(": ")
        found.append((name, kind, default or None))
    return found


def stored(folder=STORE):
    """The releases that are stored, the oldest first."""
    return sorted((p.stem[1:] for p in folder.glob("v*.json")), key=version)


def load(release, folder=STORE):
    """The stored layout of a release."""
    data = json.loads((folder / f"v{release}.json").read_text("utf-8"))
    newer = data.pop("newer", None)
    if not newer:
        return data
    layout = load(newer, folder)
    for section, entries in data.items():
        if not isinstance(entries, dict):
            layout[section] = entries
            continue
        merged = {**layout[section], **entries}
        layout[section] = {k: v for k, v in sorted(merged.items()) if v is not None}
    return layout


def difference(layout, newer):
    """What is stored of a layout beside the next newer one."""
    data = {"release": layout["release"], "newer": newer["release"]}
    for section, entries in layout.items():
        if not isinstance(entries, dict):
            continue
        other = newer[section]
        data[section] = {k: v for k, v in entries.items() if other.get(k) != v}
        data[section].update({k: None for k in other if k not in entries})
        if not data[section]:
            del data[section]
    return data


def store(layouts, folder=STORE):
    """Writes these layouts, each as what differs from the next newer one."""
    layouts = sorted(layouts, key=lambda layout: version(layout["release"]))
    for layout, newer in zip(layouts, [*layouts[1:], None]):
        data = difference(layout, newer) if newer else layout
        (folder / f"v{layout['release']}.json").write_text(dumps(data), "utf-8")


def dumps(layout):
    """JSON with one line for each struct and each function: short, and good to compare."""
    parts = []
    for key, value in layout.items():
        if isinstance(value, dict) and value:
            items = (
                f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items()
            )
            parts.append(f'"{key}": {{\n' + ",\n".join(items) + "\n}")
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main():
    many = len(sys.argv) > 2 and sys.argv[1] == "--store"
    if not many and (len(sys.argv) != 2 or sys.argv[1].startswith("-")):
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    if many:
        store([layout_of(Source(path)) for path in sys.argv[2:]])
    else:
        sys.stdout.write(dumps(layout_of(Source(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

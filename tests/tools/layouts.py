# SPDX-License-Identifier: MIT
"""vLLM's wire layouts (tests/tools/layouts/) as msgspec types: strict readers and writers for each
release, generated from data. Needs no vLLM and no network.

Types whose fields a layout does not have (tensors, images) are Any.
"""

import ast
import enum
import sys
import typing
from dataclasses import field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import vllm_layout  # noqa: E402

RELEASES = vllm_layout.stored()
#: The releases whose engines and front-ends our programs support
ENGINE_RELEASES = [r for r in RELEASES if vllm_layout.version(r) >= (0, 23)]
#: An array or a map in a place of its own: read as whatever it is
PLAIN = {"Any": Any, "None": None, "str": str, "int": int, "float": float, "bool": bool}
PLAIN |= {"bytes": bytes, "dict": dict, "list": list, "tuple": tuple, "set": set}
EMPTY = {"list()": list, "dict()": dict, "set()": set, "[]": list}


def split(text):
    """The members of a union or of a list of types, not those in brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if char in "|," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


class Types:
    """The types of one release: types ["EngineCoreRequest"]."""

    def __init__(self, layout):
        self.layout, self._made = layout, {}

    def __getitem__(self, name):
        if name not in self._made:
            self._made[name] = Any  # For one that has itself in it
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name):
        if name in self.layout["aliases"]:
            return self.read(self.layout["aliases"][name])
        if name in self.layout["enums"]:
            members = self.layout["enums"][name]
            values = {member: ast.literal_eval(value) for member, value in members.items()}
            return enum.Enum(name, values)
        if name not in self.layout["structs"]:
            return Any
        struct = self.layout["structs"][name]
        fields = [
            (field_name, self.read(kind), default)
            for field_name, kind, default in vllm_layout.fields_of(struct)
        ]
        if struct["kind"] == "namedtuple":
            made = typing.NamedTuple(name, [(n, kind) for n, kind, _ in fields])
            made._field_defaults = {n: None for n, _, default in fields if default is not None}
            made.__new__.__defaults__ = tuple(made._field_defaults.values())
            return made
        if struct["kind"] == "dataclass":
            return make_dataclass(
                name,
                [
                    (n, kind) if default is None else (n, kind, self.default(default, True))
                    for n, kind, default in fields
                ],
            )
        return msgspec.defstruct(
            name,
            [
                (n, kind) if default is None else (n, kind, self.default(default, False))
                for n, kind, default in fields
            ],
            array_like=struct.get("array_like", False),
            omit_defaults=struct.get("omit_defaults", False),
            forbid_unknown_fields=struct.get("forbid_unknown_fields", False),
            tag=struct.get("tag"),
            gc=False,
        )

    def default(self, text, of_dataclass):
        make = field if of_dataclass else msgspec.field
        if text in EMPTY:
            return make(default_factory=EMPTY[text])
        if text.endswith("()"):
            return make(default_factory=lambda: self[text[:-2]]())
        try:
            return make(default=ast.literal_eval(text))
        except ValueError:  # A member of an enum
            name, _, member = text.rpartition(".")
            return make(default=getattr(self[name.rpartition(".")[2]], member, None))

    def read(self, text):
        """A type from its text."""
        options = [self.one(part) for part in split(text) if part]
        if Any in options:
            return Any
        return typing.Union[tuple(options)]

    def one(self, text):
        head, _, rest = text.partition("[")
        inner = split(rest[:-1]) if rest else []
        name = head.rpartition(".")[2]
        if name == "Literal":
            return typing.Literal[tuple(ast.literal_eval(f"[{rest[:-1]}]"))]
        if not inner:
            return PLAIN.get(name) if name in PLAIN else self[name]
        if name in ("dict", "Mapping", "defaultdict"):
            return dict[self.read(inner[0]), self.read(inner[1])]
        if name == "tuple" and inner[-1] == "...":
            return tuple[self.read(inner[0]), ...]
        if name == "tuple":
            return tuple[tuple(self.read(each) for each in inner)]
        if name in ("list", "set", "frozenset", "Sequence"):
            return list[self.read(rest[:-1])]
        return Any


@cache
def types_of(release):
    return Types(vllm_layout.load(release))


def decode(release, name, frame):
    """As a strict reader of that release has it."""
    return msgspec.msgpack.decode(frame, type=types_of(release)[name], strict=True)

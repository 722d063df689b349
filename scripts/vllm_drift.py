# SPDX-License-Identifier: MIT
"""Finds the differences between two wire layouts, and which of them break our programs.

tests/tools/layouts/ours.json says what our programs write and read. `make test` compares it with
their real frames (tests/tools/interop/test_layouts.py):
    writes      struct -> field -> which msgpack types it has been seen with, in the order of the
                array or of the map
    essential   struct -> fields that we write and that must not be lost
    reads       struct -> fields that we look at -> what we take when it is not there; "required"
    answers     utility method -> type of our answer
    older       release -> what of the writes and answers is different for it, and for those up to
                the next one: --vllm and --wire choose it. null: we do not write it.
    constants   name -> value
    calls       "file function" -> regular expressions, each of which a call there must match
"""

import difflib
import json
import re

from vllm_layout import STORE, fields_of, stored, version

OURS = STORE / "ours.json"


def ours():
    return json.loads(OURS.read_text("utf-8"))


def ours_for(release):
    """The same, with what our programs write for that release; "" means the newest."""
    table = ours()
    given = version(release)[:2]
    if not given or given >= version(stored()[-1])[:2]:
        return table
    releases = sorted(table["older"], key=version)
    chosen = [r for r in releases if version(r)[:2] <= given] or releases[:1]
    for key, entries in table["older"][chosen[-1]].items():
        merged = {**table[key], **entries}
        table[key] = {name: entry for name, entry in merged.items() if entry is not None}
    return table


def names_of(struct):
    return [name for name, _, _ in fields_of(struct)]


def quoted(text):
    return "nothing" if text is None else text


# --- drift: a layout beside another one ---------------------------------------------------------


def renames(old, new):
    """New name -> old name of each field that has replaced another: same neighbours, same type."""
    old_names, new_names = [f[0] for f in old], [f[0] for f in new]
    found = {}
    for i, (name, kind, _) in enumerate(old):
        if name in new_names:
            continue
        before = [n for n in old_names[:i] if n in new_names]
        for j, (other, other_kind, _) in enumerate(new):
            if other in old_names or other in found or kind != other_kind:
                continue
            if [n for n in new_names[:j] if n in old_names] == before:
                found[other] = name
                break
    return found


def moved_names(old, new):
    """Names in both lists that are not in the longest run of the same order."""
    both_old = [n for n in old if n in new]
    both_new = [n for n in new if n in old]
    kept = set()
    for block in difflib.SequenceMatcher(None, both_old, both_new, False).get_matching_blocks():
        kept.update(both_old[block.a : block.a + block.size])
    return [n for n in both_new if n not in kept]


def field_drift(what, old, new):
    """Lines about the fields of one struct, as fields_of has them."""
    was = renames(old, new)
    old_at = {f[0]: (i, f) for i, f in enumerate(old)}
    new_at = {f[0]: (i, f) for i, f in enumerate(new)}
    for after, before in was.items():
        yield f"{what}: field renamed from {before} to {after}, [{new_at[after][0]}]"
    for name, (i, _) in old_at.items():
        if name not in new_at and name not in was.values():
            yield f"{what}: field {name} removed, it was [{i}]"
    for name, (i, (_, kind, default)) in new_at.items():
        if name in old_at or name in was:
            continue
        behind = [n for n in list(new_at)[i + 1 :] if n in old_at or n in was]
        how = f"inserted at [{i}], before {behind[0]}" if behind else f"appended at [{i}]"
        need = "required" if default is None else f"default {default}"
        yield f"{what}: field {name} {how}: {kind}, {need}"
    for name in moved_names(list(old_at), list(new_at)):
        yield f"{what}: field {name} moved from [{old_at[name][0]}] to [{new_at[name][0]}]"
    for name, (_, (_, kind, default)) in new_at.items():
        if was.get(name, name) not in old_at:
            continue
        _, (_, old_kind, old_default) = old_at[was.get(name, name)]
        if kind != old_kind:
            yield f"{what}.{name}: type changed from {old_kind} to {kind}"
        if default == old_default:
            continue
        if default is None:
            yield f"{what}.{name}: default {old_default} dropped, now required"
        elif old_default is None:
            yield f"{what}.{name}: no longer required, default {default}"
        else:
            yield f"{what}.{name}: default changed from {old_default} to {default}"


def struct_drift(name, old, new):
    if new is None:
        yield f"{name}: struct removed, it was in {old['file']}"
        return
    if old is None:
        yield f"{name}: new struct in {new['file']}"
        return
    if old["file"] != new["file"]:
        yield f"{name}: struct moved from {old['file']} to {new['file']}"
    for key in sorted((set(old) | set(new)) - {"file", "fields"}):
        if old.get(key) != new.get(key):
            yield f"{name}: {key} changed from {quoted(old.get(key))} to {quoted(new.get(key))}"
    yield from field_drift(name, fields_of(old), fields_of(new))


def plain_drift(what, old, new):
    """Lines about a section whose entries are values."""
    for name in {**old, **new}:
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if before is None:
            yield f"{what} {name}: new, {after}"
        elif after is None:
            yield f"{what} {name}: removed, it was {before}"
        else:
            yield f"{what} {name}: changed from {before} to {after}"


def calls_drift(old, new):
    for where in {**old, **new}:
        before, after = old.get(where, []), new.get(where, [])
        if not after:
            yield f"sockets, {where}: no calls any more, there were {len(before)}"
        elif not before:
            yield f"sockets, {where}: new, {'; '.join(after)}"
        else:
            for text in difflib.ndiff(before, after):
                how = {"- ": "no longer", "+ ": "now"}.get(text[:2])
                if how:
                    yield f"sockets, {where}: {how} {text[2:]}"


def drift(old, new):
    """The differences in `new`, one line each."""
    for name in sorted({**old["structs"], **new["structs"]}):
        yield from struct_drift(name, old["structs"].get(name), new["structs"].get(name))
    for name in sorted({**old["enums"], **new["enums"]}):
        before, after = old["enums"].get(name), new["enums"].get(name)
        if before is None or after is None:
            yield f"{name}: enum {'new' if before is None else 'removed'}"
        else:
            yield from plain_drift(f"{name}:", before, after)
    yield from plain_drift("type", old["aliases"], new["aliases"])
    yield from plain_drift("constant", old["constants"], new["constants"])
    for verb, key in (("sends", "sent"), ("reads", "read")):
        yield from plain_drift(f"handshake {verb}", old["handshake"][key], new["handshake"][key])
    yield from plain_drift("utility", old["utility"], new["utility"])
    yield from calls_drift(old["sockets"], new["sockets"])


# --- breaks: our programs beside a layout -------------------------------------------------------

# Which msgpack types a reader of a type takes
TAKES = {
    "None": {"nil"}, "int": {"int"}, "float": {"float", "int"}, "bool": {"bool"}, "str": {"str"},
    "bytes": {"bin"}, "Literal": {"str", "int"},
    **dict.fromkeys(("list", "tuple", "set", "Sequence", "frozenset"), {"array"}),
    **dict.fromkeys(("ndarray", "Tensor", "UtilityResult"), {"array"}),
    **dict.fromkeys(("dict", "Mapping", "defaultdict"), {"map"}),
}  # fmt: skip


def split_type(text):
    """The members of a union, not those in brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def is_array(struct):
    return bool(struct.get("array_like") or struct["kind"] == "namedtuple")


def takes(layout, text, kind):
    """Whether a reader of this type takes a msgpack value of this kind. Unknown types take any."""
    for part in split_type(text):
        head = part.partition("[")[0].rpartition(".")[2]
        if head in TAKES:
            good = kind in TAKES[head]
        elif head in layout["structs"]:
            good = kind == ("array" if is_array(layout["structs"][head]) else "map")
        elif head in layout["enums"]:
            good = kind in ("int", "str")
        else:
            good = head not in layout["aliases"] or takes(layout, layout["aliases"][head], kind)
        if good:
            return True
    return False


def shape_breaks(layout, name, entry, verb, other):
    """What makes all of a struct useless; and msgspec's settings that no release has had."""
    struct, program = layout["structs"].get(name), entry["program"]
    if struct is None:
        yield f"{name}: {program} {verb} it, and this vLLM has no such struct"
        return
    for setting in ("rename", "tag_field", "kw_only"):
        if struct.get(setting):
            yield f"{name}: {setting} is {struct[setting]} in this vLLM, and not in our programs"
    if struct.get("tag", name) != name:
        yield f"{name}: its tag is {struct['tag']} in this vLLM"
    if "array" in entry and is_array(struct) != entry["array"]:
        shape = "an array" if is_array(struct) else "a map"
        yield f"{name}: this vLLM {other} {shape}, {program} {verb} the other"


def written_breaks(layout, name, entry, essential):
    """A vLLM of this layout reads what we write."""
    yield from shape_breaks(layout, name, entry, "writes", "wants")
    struct, written, program = layout["structs"].get(name), entry["fields"], entry["program"]
    if struct is None or is_array(struct) != entry["array"]:
        return
    wanted = fields_of(struct)
    if entry["array"]:
        pairs = [(f"[{i}]", field, *want) for i, (field, want) in enumerate(zip(written, wanted))]
        missing = [(f"{name}[{i}]", want) for i, want in enumerate(wanted) if i >= len(written)]
    else:
        pairs = [("", want[0], *want) for want in wanted if want[0] in written]
        missing = [(name, want) for want in wanted if want[0] not in written]
    for at, field, there, kind, _ in pairs:
        if there != field and set(written[field]) - {"nil"}:
            yield f"{name}{at}: {program} writes {field} there, this vLLM reads {there}"
            continue
        for seen in written[field]:
            if takes(layout, kind, seen):
                continue
            if there == field:
                yield f"{name}.{field}: {program} writes {seen}, this vLLM takes {kind}"
            else:
                what = f"{seen} there ({field})"
                yield f"{name}{at}: {program} writes {what}, this vLLM reads {there}: {kind}"
    for at, (field, _, default) in missing:
        if default is None:
            yield f"{at}: this vLLM requires {field}, {program} does not write it"
    if struct.get("forbid_unknown_fields") and not entry["array"]:
        tag = {struct.get("tag_field", "type")} if struct.get("tag") else set()
        for field in sorted(set(written) - set(names_of(struct)) - tag):
            yield f"{name}: {program} writes {field}, this vLLM refuses unknown fields"
    for field in essential:
        if field not in names_of(struct):
            yield f"{name}: {program} writes {field}, this vLLM does not know it"


def read_breaks(layout, name, entry):
    """We read what a vLLM of this layout writes."""
    yield from shape_breaks(layout, name, entry, "reads", "writes")
    struct, program = layout["structs"].get(name), entry["program"]
    if struct is None or entry.get("array", is_array(struct)) != is_array(struct):
        return
    have = {f[0]: (i, f[2]) for i, f in enumerate(fields_of(struct))}
    omits = struct.get("omit_defaults") and not is_array(struct)
    for field, absent in entry["fields"].items():
        at = entry.get("at", {}).get(field)
        if field not in have:
            yield f"{name}: {program} reads {field}, this vLLM does not write it"
            continue
        index, default = have[field]
        if at is not None and index != at:
            yield f"{name}: {program} reads {field} at [{at}], this vLLM writes it at [{index}]"
        if omits and default is not None and absent != default:
            means = f"it means {default} in this vLLM, and {absent} in {program}"
            yield f"{name}.{field}: left out, {means}"


def breaks(table, layout):
    """What would not work in our programs with a vLLM of this layout, one line each."""
    for name, entry in table["writes"].items():
        yield from written_breaks(layout, name, entry, table["essential"].get(name, ()))
    for name, entry in table["reads"].items():
        yield from read_breaks(layout, name, entry)
    for name, value in table["enums"].items():
        for member, number in value.items():
            there = layout["enums"].get(name, {}).get(member)
            if there != number:
                yield f"{name}.{member}: {number} in our programs, {quoted(there)} in this vLLM"
    for name, value in table["constants"].items():
        there = layout["constants"].get(name)
        if there is not None and there != value:
            yield f"{name}: {value} in our programs, {there} in this vLLM"
    for method, kind in table["answers"].items():
        returns = layout["utility"].get(method)
        if returns and returns != "Any" and not takes(layout, returns, kind):
            yield f"utility {method}: mock_engine answers {kind}, this vLLM takes {returns}"
    for status, needed in layout["handshake"]["read"].items():
        if needed == "required" and status not in table["handshake"]["sends"]:
            yield f"handshake: this vLLM reads {status}, mock_engine does not send it"
    for status, keys in table["handshake"]["reads"].items():
        for key in keys:
            if key not in layout["handshake"]["sent"].get(status, ()):
                what = f"{key} of {status}"
                yield f"handshake: mock_frontend reads {what}, this vLLM does not send it"
    for where, patterns in table["calls"].items():
        calls = layout["sockets"].get(where, [])
        for pattern in patterns:
            if not any(re.search(pattern, text) for text in calls):
                yield f"sockets, {where}: no call like {pattern}"

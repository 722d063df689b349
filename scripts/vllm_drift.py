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
    newest = version(stored()[-1])[:2]
    given = version(release)[:2]
    if not given or given >= newest:
        return table
    older = [r for r in table["older"] if version(r)[:2] <= given]
    chosen = max(older, key=version) if older else min(table["older"], key=version)
    for key, entries in table["older"][chosen].items():
        merged = {**table[key], **entries}
        table[key] = {name: entry for name, entry in merged.items() if entry is not None}
    return table


def names_of(struct):
    return [name for name, _, _ in fields_of(struct)]


def quoted(text):
    return "nothing" if text is None else text


# --- drift: a layout beside another one ---------------------------------------------------------


def renames(old, new):
    """Pairs of fields of which one has replaced the other: same neighbours, same type."""
    old_names, new_names = [f[0] for f in old], [f[0] for f in new]
    pairs, taken = [], set()
    for i, (name, kind, _) in enumerate(old):
        if name in new_names:
            continue
        before = [n for n in old_names[:i] if n in new_names]
        for j, (other, other_kind, _) in enumerate(new):
            if other in old_names or other in taken or kind != other_kind:
                continue
            if [n for n in new_names[:j] if n in old_names] == before:
                pairs.append((name, other))
                taken.add(other)
                break
    return pairs


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
    renamed = renames(old, new)
    was = {after: before for before, after in renamed}
    gone = {before for before, _ in renamed}
    old_at = {f[0]: (i, f) for i, f in enumerate(old)}
    new_at = {f[0]: (i, f) for i, f in enumerate(new)}
    for before, after in renamed:
        yield f"{what}: field renamed from {before} to {after}, [{new_at[after][0]}]"
    for name, (i, _) in old_at.items():
        if name not in new_at and name not in gone:
            yield f"{what}: field {name} removed, it was [{i}]"
    for name, (i, (_, kind, default)) in new_at.items():
        if name in old_at or name in was:
            continue
        behind = [n for n in list(new_at)[i + 1 :] if n in old_at or n in was]
        how = f"inserted at [{i}], before {behind[0]}" if behind else f"appended at [{i}]"
        need = "required" if default is None else f"default {default}"
        yield f"{what}: field {name} {how}: {kind}, {need}"
    for name in moved_names([f[0] for f in old], [f[0] for f in new]):
        yield f"{what}: field {name} moved from [{old_at[name][0]}] to [{new_at[name][0]}]"
    for name, (_, (_, kind, default)) in new_at.items():
        before = old_at.get(was.get(name, name))
        if not before:
            continue
        _, old_kind, old_default = before[1]
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
        if before == after:
            continue
        if not after:
            yield f"sockets, {where}: no calls any more, there were {len(before)}"
            continue
        if not before:
            yield f"sockets, {where}: new, {'; '.join(after)}"
            continue
        for text in difflib.ndiff(before, after):
            if text[:2] == "- ":
                yield f"sockets, {where}: no longer {text[2:]}"
            elif text[:2] == "+ ":
                yield f"sockets, {where}: now {text[2:]}"


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
    yield from plain_drift("handshake sends", old["handshake"]["sent"], new["handshake"]["sent"])
    yield from plain_drift("handshake reads", old["handshake"]["read"], new["handshake"]["read"])
    yield from plain_drift("utility", old["utility"], new["utility"])
    yield from calls_drift(old["sockets"], new["sockets"])


# --- breaks: our programs beside a layout -------------------------------------------------------

NUMBERS = {"int": {"int"}, "float": {"float", "int"}, "bool": {"bool"}, "str": {"str"}}
ARRAYS = ("list", "tuple", "set", "Sequence", "frozenset")
MAPS = ("dict", "Mapping", "defaultdict")


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


def takes(layout, text, kind):
    """Whether a reader of this type takes a msgpack value of this kind. Unknown types take any."""
    for part in split_type(text):
        head = part.partition("[")[0].rpartition(".")[2]
        if head == "None":
            good = kind == "nil"
        elif head in NUMBERS:
            good = kind in NUMBERS[head]
        elif head == "bytes":
            good = kind == "bin"
        elif head == "Literal":
            good = kind in ("str", "int")
        elif head in ARRAYS:
            good = kind == "array"
        elif head in MAPS:
            good = kind == "map"
        elif head in layout["structs"]:
            struct = layout["structs"][head]
            array = struct.get("array_like") or struct["kind"] == "namedtuple"
            good = kind == ("array" if array else "map")
        elif head in layout["enums"]:
            good = kind in ("int", "str")
        elif head in layout["aliases"]:
            good = takes(layout, layout["aliases"][head], kind)
        elif head in ("ndarray", "Tensor", "UtilityResult"):
            good = kind == "array"
        else:
            good = True
        if good:
            return True
    return False


def spelling_breaks(name, struct):
    """msgspec settings that would change keys and tags, and that no release has had."""
    for setting in ("rename", "tag_field", "kw_only"):
        if struct and struct.get(setting):
            yield f"{name}: {setting} is {struct[setting]} in this vLLM, and not in our programs"
    if struct and struct.get("tag", name) != name:
        yield f"{name}: its tag is {struct['tag']} in this vLLM"


def written_breaks(layout, name, entry, essential):
    """A vLLM of this layout reads what we write."""
    struct = layout["structs"].get(name)
    written = entry["fields"]
    yield from spelling_breaks(name, struct)
    if struct is None:
        yield f"{name}: {entry['program']} writes it, and this vLLM has no such struct"
        return
    array = bool(struct.get("array_like") or struct["kind"] == "namedtuple")
    if array != entry["array"]:
        shape = "an array" if array else "a map"
        yield f"{name}: this vLLM wants {shape}, {entry['program']} writes the other"
        return
    wanted = fields_of(struct)
    if array:
        for i, ((field, kinds), want) in enumerate(zip(written.items(), wanted)):
            if want[0] != field and set(kinds) - {"nil"}:
                yield (
                    f"{name}[{i}]: {entry['program']} writes {field} there, "
                    f"this vLLM reads {want[0]}"
                )
            elif want[0] != field:
                for kind in kinds:
                    if not takes(layout, want[1], kind):
                        yield (
                            f"{name}[{i}]: {entry['program']} writes {kind} there ({field}), "
                            f"this vLLM reads {want[0]}: {want[1]}"
                        )
            else:
                for kind in kinds:
                    if not takes(layout, want[1], kind):
                        yield (
                            f"{name}.{field}: {entry['program']} writes {kind}, "
                            f"this vLLM takes {want[1]}"
                        )
        for i, (field, _, default) in enumerate(wanted[len(written) :], len(written)):
            if default is None:
                program = entry["program"]
                yield f"{name}[{i}]: this vLLM requires {field}, {program} does not write it"
    else:
        tagged = {struct.get("tag_field", "type")} if struct.get("tag") else set()
        for field, kind, default in wanted:
            if field not in written:
                if default is None:
                    program = entry["program"]
                    yield f"{name}: this vLLM requires {field}, {program} does not write it"
                continue
            for seen in written[field]:
                if not takes(layout, kind, seen):
                    yield (
                        f"{name}.{field}: {entry['program']} writes {seen}, this vLLM takes {kind}"
                    )
        unknown = set(written) - {f[0] for f in wanted} - tagged
        if struct.get("forbid_unknown_fields"):
            for field in sorted(unknown):
                yield f"{name}: {entry['program']} writes {field}, this vLLM refuses unknown fields"
    for field in essential:
        if field not in {f[0] for f in wanted}:
            yield f"{name}: {entry['program']} writes {field}, this vLLM does not know it"


def read_breaks(layout, name, entry):
    """We read what a vLLM of this layout writes."""
    struct = layout["structs"].get(name)
    program = entry["program"]
    if struct is None:
        yield f"{name}: {program} reads it, and this vLLM has no such struct"
        return
    yield from spelling_breaks(name, struct)
    have = {f[0]: (i, f) for i, f in enumerate(fields_of(struct))}
    array = bool(struct.get("array_like") or struct["kind"] == "namedtuple")
    if "array" in entry and array != entry["array"]:
        shape = "an array" if array else "a map"
        yield f"{name}: this vLLM writes {shape}, {program} reads the other"
        return
    for field, absent in entry["fields"].items():
        at = entry.get("at", {}).get(field)
        if field not in have:
            yield f"{name}: {program} reads {field}, this vLLM does not write it"
            continue
        index, (_, _, default) = have[field]
        if at is not None and index != at:
            yield f"{name}: {program} reads {field} at [{at}], this vLLM writes it at [{index}]"
        omitted = struct.get("omit_defaults") and not array
        if omitted and default is not None and absent != default:
            yield (
                f"{name}.{field}: left out, it means {default} in this vLLM, "
                f"and {absent} in {program}"
            )


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

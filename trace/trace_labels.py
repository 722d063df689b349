# SPDX-License-Identifier: MIT
"""Labels for the arrows of a diagram: the content of a message in a few words.

It recognises the messages of all lessons and tools by their frames, without knowing the program.
"""

import msgspec

#: Longer texts are cut
LABEL_MAX = 44

REQUEST_TYPES = {"00": "ADD", "01": "ABORT", "02": "START_DP_WAVE", "03": "UTILITY"}
FINISH = ["stop", "length", "abort", "error", "repetition"]
SEQ_END = "ff" * 8


def body(socket, frames):
    """The frames without those that a socket adds or removes: the identity in front at a ROUTER, and
    the empty frame behind it, which a REQ adds and a DEALER may send."""
    if socket == "ROUTER":
        frames = frames[1:]
    if socket in ("ROUTER", "DEALER") and len(frames) > 1 and frames[0]["size"] == 0:
        frames = frames[1:]
    return frames


def label(send, recv):
    """The words for a message; `send` or `recv`, its two sides, may be None."""
    side = send or recv
    words = meaning(side.socket, body(side.socket, side.frames)).strip() or '""'
    names = [end.name() or end.identity for end in (send, recv) if end]
    engine = next((name for name in names if name and len(name) == 4), None)
    if engine and "ROUTER" in {end.socket for end in (send, recv) if end}:
        words = f"[{engine[:2]} {engine[2:]}] {words}"
    return words


def unpack(frame):
    """The msgpack value in a frame, or None, also for nil, which no message here consists of."""
    if frame.get("cut"):
        return None
    try:
        return msgspec.msgpack.decode(bytes.fromhex(frame["hex"]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def meaning(socket, frames):
    """The words for the frames of a message without its envelope."""
    hexes = [frame["hex"] for frame in frames]
    if not frames:
        return "nothing"
    if socket in ("SUB", "XSUB", "PUB", "XPUB") and len(frames) == 1 and hexes[0][:2] in ("00", "01"):
        what = "subscribe" if hexes[0][:2] == "01" else "unsubscribe"
        return cut(f'{what} "{plain(hexes[0][2:])}"')
    if hexes[0] == b"ENGINE_CORE_DEAD".hex():
        return "ENGINE_CORE_DEAD"
    if len(frames) >= 2 and hexes[0] in REQUEST_TYPES:
        return cut(of_engine(REQUEST_TYPES[hexes[0]], unpack(frames[1])))
    if len(frames) >= 2 and frames[-2]["size"] == 8 and frames[-1]["size"] == 0:
        return "END" if hexes[-2] == SEQ_END else f"seq {int(hexes[-2], 16)}: nothing"
    if len(frames) >= 2 and frames[-2]["size"] == 8:
        return cut(f"seq {int(hexes[-2], 16)}: {of_batch(unpack(frames[-1]))}")
    value = unpack(frames[-1])
    if len(frames) == 1 and frames[0]["size"] == 8 and not isinstance(value, (dict, list, str)):
        return f"replay from {int(hexes[0], 16)}"
    if len(frames) == 1:
        return cut(of_value(value, frames[0]))
    if len(frames) == 2 and isinstance(value, dict) and set(value) == {"seq"}:
        return cut(f"{plain(hexes[0])} {value['seq']}".strip())
    return cut(", ".join(of_value(unpack(frame), frame) for frame in frames))


def of_engine(kind, value):
    """A message to an engine: vLLM's EngineCoreRequestType and what belongs to it."""
    if kind == "ADD" and isinstance(value, list) and len(value) > 1:
        tokens = value[1] if isinstance(value[1], list) else []
        return f"ADD {value[0]}, {plural(len(tokens), 'token')}"
    if kind == "ABORT" and isinstance(value, list):
        return f"ABORT {' '.join(map(str, value))}"
    if kind == "UTILITY" and isinstance(value, list) and len(value) > 2:
        return f"UTILITY {value[2]}"
    return kind


def of_outputs(outputs):
    """EngineCoreOutput: `r0 r2: +1 token, length`. Requests that get the same are told together."""
    told = {}
    for output in outputs:
        words = f"+{plural(len(output[1]), 'token')}" if output[1] else ""
        reason = output[5] if len(output) > 5 else None
        if isinstance(reason, int) and reason < len(FINISH):
            words += (", " if words else "") + FINISH[reason]
        told.setdefault(words or "nothing", []).append(str(output[0]))
    return "; ".join(f"{' '.join(ids)}: {words}" for words, ids in told.items())


def of_batch(value):
    """The events of a KV event batch, `[ts, events, rank]`: maps, or arrays with the tag first."""
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[1], list):
        return "unreadable"
    tags = []
    for event in value[1]:
        if isinstance(event, dict):
            tags.append(event.get("type"))
        else:
            tags.append(event[0] if isinstance(event, list) and event else "unreadable")
    return ", ".join(map(str, tags)) or "no event"


def of_value(value, frame):
    """A message of one frame."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return of_map(value)
    if (
        isinstance(value, list)
        and len(value) > 1
        and isinstance(value[0], int)
        and isinstance(value[1], list)
        and all(isinstance(o, list) and len(o) > 1 and isinstance(o[1], list) for o in value[1])
    ):
        return of_outputs(value[1]) or "no output"
    return frame.get("text") or plural(frame["size"], "byte")


def of_map(value):
    keys = set(value)
    if keys == {"task", "value"}:
        return f"task {value['task']}"
    if keys == {"task", "worker", "value"}:
        return f"result {value['value']} by {value['worker']}"
    if keys == {"tasks"}:
        return f"{plural(value['tasks'], 'task')} to come"
    if "max_model_len" in keys:
        return "registration"
    if "status" in keys:
        return str(value["status"])
    if isinstance(value.get("addresses"), dict):
        inputs = value["addresses"].get("inputs")
        return f"INIT {plural(len(inputs), 'front-end')}" if isinstance(inputs, list) else "INIT"
    if keys == {"error"}:
        return f"error: {value['error']}"
    return ", ".join(f"{key}: {value[key]}" for key in value)


def plain(digits):
    """Bytes in hex as the text that they ought to be."""
    return bytes.fromhex(digits).decode("utf-8", "replace")


def plural(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def cut(text):
    """One line of printable text, not longer than LABEL_MAX."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 1].rstrip() + "…"


def frame_names(socket, frames):
    """The meaning of each frame of a message, or None if it is not known."""
    inner = body(socket, frames)
    names = []
    if len(frames) > len(inner):
        names = ["identity"] if socket == "ROUTER" else ["empty frame"]
        names += ["empty frame"] * (len(frames) - len(inner) - len(names))
    hexes = [frame["hex"] for frame in inner]
    pub_sub = socket in ("SUB", "XSUB", "PUB", "XPUB")
    if pub_sub and len(inner) == 1:
        names += ["subscription"]
    elif len(inner) >= 2 and hexes[0] in REQUEST_TYPES:
        names += [f"type: {REQUEST_TYPES[hexes[0]]}", "payload"]
    elif len(inner) >= 2 and inner[-2]["size"] == 8:
        names += [*(["topic"] if len(inner) > 2 else []), of_seq(hexes[-2]), "batch"]
    elif pub_sub and len(inner) == 2:
        names += ["topic", "payload"]
    elif len(inner) == 1 and inner[0]["size"] == 8:
        names += [of_seq(hexes[0])]
    elif len(inner) == 1:
        names += ["payload"]
    return names + [None] * (len(frames) - len(names))


def of_seq(digits):
    return "seq: END" if digits == SEQ_END else f"seq: {int(digits, 16)}"

# SPDX-License-Identifier: MIT
"""One HTML page of a run: the diagram, the frames of each message, and a slider that plays it."""

import json
import re
from html import escape
from pathlib import Path

from trace_draw import Picture
from trace_labels import frame_names, plural

#: Limits of the page: larger runs would be slow in a browser, and hard to read
MESSAGES_MAX = 2000

TEMPLATE = Path(__file__).with_name("trace_page.html")


def html(run, title):
    """The page, which needs no other file. `run` is cut to what fits into it."""
    told = len(run.messages)
    run.messages = run.messages[:MESSAGES_MAX]
    picture = Picture(run, title, interactive=True)
    summary = f"{plural(told, 'message')} between {', '.join(lane.title for lane in picture.lanes)}"
    if told > MESSAGES_MAX:
        summary += f"; the first {MESSAGES_MAX} are shown"
    data = {"summary": summary, "messages": [of_message(run, message) for message in run.messages]}
    parts = {"@TITLE@": escape(title), "@SVG@": picture.svg(), "@DATA@": embedded(data)}
    # In one pass, so that inserted text is not searched again
    return re.sub("@(TITLE|SVG|DATA)@", lambda found: parts[found[0]], TEMPLATE.read_text("utf-8"))


def embedded(data):
    """JSON for a script element: nothing in it can end the element, or a line of JavaScript."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for c in "<>&\u2028\u2029":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return text


def of_message(run, message):
    told = {
        "label": message.label,
        "from": message.source.title,
        "to": message.target.title,
        "t": round(message.t - run.start, 6),
        "fate": message.fate,
    }
    if message.send and message.recv:
        told["took"] = round(message.recv.t - message.send.t, 6)
    why = of_difference(message)
    if why:
        told["why"] = why
    for name, event in (("send", message.send), ("recv", message.recv)):
        if event:
            told[name] = of_event(event)
    return told


def of_difference(message):
    """Why the frames differ at the two ends; None if they are the same, or one end is not known."""
    if not message.send or not message.recv:
        return None
    if len(message.send.frames) == len(message.recv.frames):
        return None
    told = {
        "ROUTER": "The first frame told the ROUTER which peer to send to. It does not travel.",
        "REQ": "A REQ puts an empty frame in front, which is not in its program's message.",
    }
    took = {
        "ROUTER": "The ROUTER has put the name of the sender in front.",
        "REQ": "A REQ takes the empty frame off that it had put in front of its request.",
    }
    words = [told.get(message.send.socket), took.get(message.recv.socket)]
    return " ".join(word for word in words if word) or None


def of_event(event):
    names = frame_names(event.socket, event.frames)
    frames = [
        {**frame, **({"name": name} if name else {})} for name, frame in zip(names, event.frames)
    ]
    for frame in frames:
        if frame.get("name", "").startswith("type"):
            frame.pop("text", None)  # That byte is no msgpack, even if it could be
    told = {"socket": event.socket, "endpoint": event.endpoint, "frames": frames}
    return {**told, "left_out": event.left_out} if event.left_out else told

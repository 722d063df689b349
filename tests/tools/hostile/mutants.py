# SPDX-License-Identifier: MIT
"""Bad messages, made from good ones by small changes. The same seed gives the same messages."""

import random

import msgspec
import seeds

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
VECTORS = seeds.vectors()

VALUES = [None, True, False, 0, 1, -1, 127, 255, 65535, 2**31, 2**32, 2**63, 2**64 - 1, -(2**63)]
VALUES += [0.0, -0.0, 1.5, float("nan"), float("inf"), "", "x", "type", "BlockStored", "\0", "\x1b[2J"]
VALUES += ["é" * 300, b"", b"\xff" * 40, [], {}, [[]], {"a": {"a": {}}}, [None] * 20, {1: 2}]
RAW = [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
RAW += [b"\x91" * 100, b"\x81" * 64 + b"\x01" * 65, b"\xff" * 300, b"\xc9\xff\xff\xff\xff\x01"]
RAW += [b"\xdc\xff\xff" + b"\xc0" * 60, b"\0" * 8, b"\xff" * 8, b"ENGINE_CORE_DEADLY"]


class Mutants:
    def __init__(self, seed, values, limit=20000):
        """Made of these values, or of the vectors of these names."""
        self.random = random.Random(seed)
        self.values = [unpack(VECTORS[each]) if isinstance(each, str) else each for each in values]
        self.payloads = [self._payload() for _ in range(limit)]

    def _value(self, value, depth=0):
        """One place in it changed."""
        pick = self.random
        if depth < 4 and pick.random() < 0.8:
            if isinstance(value, list) and value:
                at = pick.randrange(len(value))
                how = pick.randrange(8)
                if how == 0:
                    return value[:at] + value[at + 1 :]
                if how == 1:
                    return value[:at] + [value[at]] + value[at:]
                return value[:at] + [self._value(value[at], depth + 1)] + value[at + 1 :]
            if isinstance(value, dict) and value:
                key = pick.choice(list(value))
                if pick.randrange(8) == 0:
                    return {name: each for name, each in value.items() if name != key}
                return {**value, key: self._value(value[key], depth + 1)}
        return pick.choice(VALUES)

    def _payload(self):
        pick, kind = self.random, self.random.random()
        if kind < 0.05:
            return pick.choice(RAW)
        value = pick.choice(self.values)
        data = pack(self._value(value) if kind < 0.55 else value)
        if kind < 0.5:
            return data
        data = bytearray(data)
        for _ in range(pick.randint(1, 3)):
            at = pick.randrange(len(data) + 1)
            how = pick.randrange(5)
            if how == 0:
                data[at : at + 1] = bytes([pick.randrange(256)])
            elif how == 1:
                data = data[:at]
            elif how == 2:
                data[at:at] = bytes([pick.choice([0, 0x91, 0x81, 0xC0, 0xC1, 0xDD, 0xFF])])
            elif how == 3:
                data[at : at + pick.randrange(9)] = b""
            else:
                data[at:at] = data[at : at + pick.randrange(40)]
        return bytes(data)

    def payload(self):
        return self.payloads[int(self.random.random() * len(self.payloads))]

    def frames(self, *head):
        """A message that begins with `head`, or nearly; of one frame or several."""
        pick = self.random.random()
        frames = [*head, self.payload()]
        if pick < 0.6:
            return frames
        at = int(self.random.random() * len(frames))
        if pick < 0.68:
            del frames[at]
            return frames or [b""]
        if pick < 0.76:
            frames.insert(at, b"")
        elif pick < 0.84:
            frames.append(self.payload())
        elif pick < 0.9:
            frames[at] = self.payload()
        elif pick < 0.95:
            frames.reverse()
        elif pick < 0.98:
            frames[at] = frames[at][:-1]
        else:
            frames += [b"x"] * int(self.random.random() * 50)
        return frames

# SPDX-License-Identifier: MIT
"""Breaks tools/kv/kv_sequence*.c in one place at a time, and checks that the explorer or the unit tests
fail. Run it by hand; it takes some minutes.

    python3 tests/tools/explore/mutants.py [NUMBER...]
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CORE, LIVE, REPLAY = (f"tools/kv/kv_sequence{part}.c" for part in ("", "_live", "_replay"))

#: File, what is there, and what is put in its place
MUTANTS = [
    (CORE, "if (seq >= self->top) {\n        self->top = seq + 1;", "if (seq > self->top) {\n        self->top = seq + 1;"),
    (CORE, "self->top_print = come->print;", ""),
    (CORE, "self->known = true;", "self->known = false;"),
    (CORE, "return known == print ? KV_SAME : KV_OTHER;", "return KV_SAME;"),
    (CORE, "seq - self->top <= self->limits.max_jump", "true"),
    (CORE, "held->batch.seq == self->next)\n            s_deliver", "held->batch.seq <= self->next)\n            s_deliver"),
    (CORE, "self->next = end;\n}", "self->next = end - 1;\n}"),
    (CORE, "return held ? held->batch.seq : self->top;", "return self->top;"),
    (CORE, "if (self->gone < end)\n                end = self->gone;", ""),
    (CORE, "end = self->heard ? self->newest : 0;", "end = end;"),
    (CORE, "now - self->drained >= KV_QUIET_MS", "true"),
    (CORE, "!self->fallen && !self->cautious &&", "!self->fallen &&"),
    (CORE, "kv_sequence_believe (self, &self->ahead);\n    kv_sequence_believe (self, &self->late);\n    s_deliver_held", "s_deliver_held"),
    (CORE, "kv_sequence_say (self, KV_RESTART, seq, seq);", ""),
    (CORE, "self->next = self->top = self->gone = 0;", "self->top = self->gone = 0;"),
    (CORE, "memset (&self->memory, 0, sizeof self->memory);", ""),
    (CORE, "kv_sequence_finish_run (self);\n    self->counts.restarts++;", "self->counts.restarts++;"),
    (CORE, "if (again && self->known && self->limits.can_replay) {", "if (false) {"),
    (CORE, "self->unchecked = again && self->known;", "self->unchecked = false;"),
    (CORE, "self->heard = false;\n    self->drained = -1;", "self->drained = -1;"),
    (CORE, "kv_sequence_stop_replay (self);  //  Another", "//  Another"),
    (CORE, "self->drained = -1;\n    if (self->unsure)", "if (self->unsure)"),
    (CORE, "kv_sequence_expire (self, now);\n    }\n    kv_sequence_settle", "}\n    kv_sequence_settle"),
    (CORE, "self->queue_dropped = true;\n        s_say_full", "s_say_full"),
    (LIVE, "if (self->ahead.of[i]->batch.seq > seq)\n            kv_sequence_drop (self, &self->ahead, i);", ";"),
    (LIVE, "return seq == s_due (self) || seq == self->next || seq == self->top;", "return true;"),
    (LIVE, "kv_sequence_say (self, KV_UNCHECKED, self->next, self->next);\n    self->unchecked = false;", "self->unchecked = false;"),
    (LIVE, "if (self->started && (falls || known == KV_OTHER || proves)) {", "if (false) {"),
    (LIVE, "self->heard ? seq <= self->newest :", "self->heard ? seq < self->newest - 1 :"),
    (LIVE, "if (self->fallen && seq > self->fallen->batch.seq) {", "if (false) {"),
    (LIVE, "if (kv_sequence_is_near (self, doubted->batch.seq))\n            s_accept", "if (true)\n            s_accept"),
    (LIVE, "if (self->fallen && now - KV_DOUBT_MS >= self->fallen->since)\n        s_begin_run (self);", ""),
    (REPLAY, "known = reply->print == self->top_print ? KV_SAME : KV_OTHER;", "known = KV_SAME;"),
    (REPLAY, "known = reply->print == self->top_print ? KV_SAME : KV_OTHER;", "known = KV_OTHER;"),
    (REPLAY, "if (self->differs || (self->replied && !self->beyond)) {", "if (self->differs) {"),
    (REPLAY, "kv_sequence_unknown (self, now);  //  It goes beyond", "s_same_run (self, now);  //  It goes beyond"),
    (REPLAY, "self->failures >= KV_REPLAY_ATTEMPTS) {\n        self->failures = 0;", "false) {\n        self->failures = 0;"),
    (REPLAY, "self->failures = self->progress ? 0 : self->failures + 1;", "self->failures = 0;"),
    (REPLAY, "self->gone_why = KV_HISTORY_LOST;", "self->gone = self->top;"),
    (REPLAY, "free (kv_store_take (&self->queue));\n    self->queue_old = 0;", ";\n    self->queue_old = 0;"),
    (REPLAY, "self->unsure = true;", "self->unsure = false;"),
    (REPLAY, "self->open = !self->accused;", "self->open = false;"),
]


def run(command, **more):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **more)


def caught(folder, file, old, new):
    """How the mutant was noticed; "" when it was not."""
    text = (ROOT / file).read_text()
    assert text.count(old) >= 1, f"{file} does not have: {old}"
    flags = run(["pkg-config", "--cflags", "--libs", "libczmq", "libzmq", "cmocka"]).stdout.split()
    sources = []
    for name in (CORE, LIVE, REPLAY):
        changed = text.replace(old, new, 1) if name == file else (ROOT / name).read_text()
        copy = Path(folder, Path(name).name)
        copy.write_text(changed)
        sources.append(copy)
    base = ["cc", "-std=c11", "-O1", "-w", "-D_XOPEN_SOURCE=700", "-Itools", "-I."]
    for name, test in (("unit", "tests/tools/unit/kv_sequence.c"), ("explore", "tests/tools/explore/kv_sequence.c")):
        program = Path(folder, name)
        built = run([*base, test, "-Itests/tools/unit", *sources, "build/tools/tools.a", "-o", program, *flags, "-lm"])
        assert built.returncode == 0, built.stderr
        for arguments in ([],) if name == "unit" else (["9"], ["random", "60", "1", "200000"]):
            try:
                if run([program, *arguments], timeout=100).returncode:
                    return " ".join([name, *arguments])
            except subprocess.TimeoutExpired:
                return f"{name}: it hangs"
    return ""


def main():
    chosen = [int(each) for each in sys.argv[1:]] or range(len(MUTANTS))
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        for number in chosen:
            how = caught(folder, *MUTANTS[number])
            print(f"{number:2} {MUTANTS[number][0]}: {how or 'NOT NOTICED'}", flush=True)
            survivors += [] if how else [number]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed")
    for number in survivors:
        print(f"  {number}: {re.sub(chr(10) + ' *', ' ', MUTANTS[number][1])}")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Opens the terminals of a demo in tmux, one pane for each, with the commands typed and not started.

    scripts/panes.py 2.2        (make panes DEMO=2.2)

Press Enter in each pane, from top to bottom. A terminal with several commands gets the first one.
"""

import os
import shutil
import subprocess
import sys
import time

import readme

PROMPT_S = 10  # How long to wait for the prompt of a pane's shell


def main(names):
    demos = readme.demos()
    if len(names) != 1 or names[0] not in demos:
        print(f"panes: want one demo of: {' '.join(demos)} (make panes DEMO=2.2)", file=sys.stderr)
        return 2
    if not shutil.which("tmux"):
        print("panes: tmux is not installed; open the terminals by hand", file=sys.stderr)
        return 1
    session = f"demo-{names[0]}".replace(".", "-")  # tmux takes a dot for the number of a pane
    socket = os.environ.get("PANES_SOCKET")  # For tests: another tmux server
    tmux = ["tmux", *(["-L", socket] if socket else [])]

    def run(*command):
        done = subprocess.run([*tmux, *command], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"panes: tmux {command[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def wait_for_prompt(pane):
        """What is typed before the shell reads it would be shown twice: by the terminal, then at the prompt."""
        deadline = time.monotonic() + PROMPT_S
        while run("display-message", "-p", "-t", pane, "#{cursor_x}") == "0" and time.monotonic() < deadline:
            time.sleep(0.02)

    subprocess.run([*tmux, "kill-session", "-t", session], stderr=subprocess.DEVNULL)
    size = ["-x", "160", "-y", "48"]  # The size of a detached session
    pane = ["-P", "-F", "#{pane_id}", "-c", readme.ROOT]
    for number, terminal in enumerate(demos[names[0]].terminals):
        if number == 0:
            new = run("new-session", "-d", "-s", session, *size, *pane)
        else:
            new = run("split-window", "-t", session, *pane)
            run("select-layout", "-t", session, "tiled")
        wait_for_prompt(new)
        run("send-keys", "-t", new, "-l", terminal.commands[0][0])
    run("select-pane", "-t", f"{session}:0.0")
    if sys.stdout.isatty():
        go = "switch-client" if os.environ.get("TMUX") else "attach-session"
        if subprocess.run([*tmux, go, "-t", session], stderr=subprocess.DEVNULL).returncode == 0:
            return 0  # It fails in a tmux that no terminal is attached to
    print(f"panes: tmux attach -t {session}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

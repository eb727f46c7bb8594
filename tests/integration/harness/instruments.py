# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Servers under sanitizers or valgrind, where tests/lib/suite has asked for it.

COI_TEST_ENV holds NAME=VALUE words that Dovecot's processes get, COI_TEST_WRAPPER
a program that runs imap, lmtp and dovecot-lda, and COI_TEST_REPORTS is the folder
where it leaves what was found. Sanitizers report to the log.
"""

import os
import re
from pathlib import Path

from .config import by_dialect, import_environment

ENV = dict(word.split("=", 1) for word in os.environ.get("COI_TEST_ENV", "").split())
WRAPPER = os.environ.get("COI_TEST_WRAPPER")
REPORTS = os.environ.get("COI_TEST_REPORTS")
SANITIZER = re.compile(r"(Address|UndefinedBehavior|Leak)Sanitizer|: runtime error: ")
# Master kills what has not begun to serve within half a minute, and starts another one.
# On a busy machine valgrind may take longer.
TOO_SLOW = re.compile(
    r"master: Error: service\(\w+\): Initial status notification not received in 30 seconds"
    r"|master: service\(\w+\): child \d+ killed with signal 9$"
)
LIBEXEC = "/usr/lib/dovecot"


def environment():
    return {**os.environ, **ENV}


def wrapped(command):
    """The command as it is to be run."""
    return [WRAPPER, *command] if WRAPPER and command[0].startswith(LIBEXEC) else command


def program_of(pid):
    """The name of what valgrind runs in a process; None if that is something else."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0") if WRAPPER else ()
    programs = (Path(word).name for word in words if word.startswith(f"{LIBEXEC}/"))
    return next(programs, None)


def no_vsz_limit():
    """Both reserve more address space than they use."""
    return "vsz_limit = " + by_dialect(v2_3="0\n", v2_4="unlimited\n")


def snippet_behind_ours():
    """The same, for what our own configuration file sets."""
    return f"service coi-push {{\n  {no_vsz_limit()}}}\n" if ENV or WRAPPER else ""


def snippet():
    """What the instruments need in a configuration."""
    text = ""
    if ENV or WRAPPER:
        text += f"default_{no_vsz_limit()}"
    if ENV:
        text += import_environment(ENV)
    if WRAPPER:
        for name in ("imap", "lmtp"):
            executable = f"{WRAPPER} {LIBEXEC}/{name}"
            text += f"service {name} {{\n  executable = {executable}\n}}\n"
    return text


def is_too_slow(line):
    """A problem in the log that there is only because of valgrind."""
    return WRAPPER is not None and TOO_SLOW.search(line) is not None


def check(master):
    """Fails where the processes of a server that has started don't have the sanitizers."""
    for library in ENV.get("LD_PRELOAD", "").split(":"):
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        maps = [Path(f"/proc/{pid}/maps") for pid in children]
        assert any(library in path.read_text() for path in maps if path.exists()), library


def take_reports():
    """The text of all reports that were left since the last call."""
    texts = []
    for path in sorted(Path(REPORTS).iterdir()) if REPORTS else ():
        text = path.read_text(errors="replace")
        # A process that has only just begun to write has no more than a name.
        if text.strip():
            texts.append(f"{path.name}:\n{text}")
            path.unlink()
    return texts

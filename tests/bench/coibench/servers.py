# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The servers that are compared, and the processor time that each of them takes."""

import os
import re
from pathlib import Path

from harness import config
from harness.push_service import Authority
from harness.server import PrivateServer

STOCK = ("A", "B")
OURS = "coi"
# Ours again, for what would disturb the others.
BAD = "bad"
KINDS = (*STOCK, OURS)
FORMATS = ("maildir", "sdbox")
LMTP_PROCESSES = 10

# Kept from the start, and none beyond them: no process starts while the clock runs.
KEEP_LMTP = config.by_dialect(
    v2_3=f"""\
service lmtp {{
  process_min_avail = {LMTP_PROCESSES}
  process_limit = {LMTP_PROCESSES}
  client_limit = 1
  service_count = 0
  idle_kill = 1 days
}}
""",
    v2_4=f"""\
service lmtp {{
  process_min_avail = {LMTP_PROCESSES}
  process_limit = {LMTP_PROCESSES}
  client_limit = 1
  restart_request_count = unlimited
  idle_kill_interval = 1 days
}}
""",
)

# As the admin has it, and not as tests on a loaded machine need it.
PUSH = (("coi_push_handoff_timeout", None),)

# For the case in which stock stores to a folder.
DETAIL = "lmtp_save_to_detail_mailbox = yes\n"


class BenchServer(PrivateServer):
    """A private server whose processes can be told from others'."""

    def processes(self, name=None):
        """PIDs of Dovecot's processes, or of those with one name, the master left out."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            comm, _, rest = stat.partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == self.process.pid and name in (None, comm):
                found.append(int(entry.name))
        return found

    def cpu_ns(self):
        """Processor time that its processes have had so far: of those that are there now
        to the nanosecond, of those that have ended in ticks, in which the kernel has it."""
        master = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ended = int(master[13]) + int(master[14])  # cutime, cstime
        total = ended * 10**9 // os.sysconf("SC_CLK_TCK")
        for pid in (self.process.pid, *self.processes()):
            try:
                total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
            except OSError:
                pass
        return total


def start(mail_format, kind, options, extra=""):
    settings = config.Config(
        keep_imap=False,
        coi=kind in (OURS, BAD),
        mail_format=mail_format,
        push=PUSH,
        after=("" if options.defaults else KEEP_LMTP) + DETAIL + extra,
    )
    shipped = f"{options.stage}/etc/dovecot/conf.d/*coi*.conf"
    return BenchServer(settings, options.work, shipped).start()


class Lab:
    """All servers of a run: for each mail format two stock ones and ours; BAD if asked for."""

    def __init__(self, options):
        os.chmod(options.work, 0o755)
        self.options = options
        # Every server under test has it in its settings.
        Authority(Path(options.work) / "authority")
        self.servers = {(f, kind): start(f, kind, options) for f in FORMATS for kind in KINDS}

    def get(self, mail_format, kind):
        if kind == BAD and (mail_format, kind) not in self.servers:
            self.servers[mail_format, kind] = start(mail_format, kind, self.options)
        return self.servers[mail_format, kind]

    def problems(self):
        """What servers have logged that makes their figures worthless."""
        words = (" Error: ", " Panic: ", " Fatal: ", " Warning: ")
        return [
            f"{kind}, {mail_format}: {line}"
            for (mail_format, kind), server in self.servers.items()
            for line in server.log_text().splitlines()
            if any(word in line for word in words)
            and "Time moved" not in line
            # It says that push services are bad.
            and not (kind == BAD and re.search(r"\d coi-push[:(]", line))
        ]

    def close(self):
        for server in self.servers.values():
            server.stop()

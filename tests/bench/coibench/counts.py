# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a delivery or a STORE is made of: instructions and system calls of its process.

They are counted for few and for many mails, and without and with the command. The
difference has no start and end of the process in it, nor anything else that is done only
once.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from harness import config

from . import report
from .cases import ALL_SEEN, STOCK_DELIVERY, USERS, seen_and_moved, timed
from .homes import Homes, Loader
from .servers import FORMATS, OURS, STOCK, Lab, start

FEW, MANY = USERS, 6 * USERS
TOP_FUNCTIONS = 30
# Of what stock does in all.
LEAST_SHARE = 1 / 5000

# A process for each connection, so that its end writes the counts.
ONE_CONNECTION = config.by_dialect(
    v2_3="service {0} {{\n  executable = {1}\n  service_count = 1\n"
    "  process_min_avail = 0\n  process_limit = 1\n}}\n",
    v2_4="service {0} {{\n  executable = {1}\n  restart_request_count = 1\n"
    "  process_min_avail = 0\n  process_limit = 1\n}}\n",
)


class Tool:
    """A program that counts what it runs."""

    def __init__(self, name, options):
        self.name = name
        self.directory = Path(options.work) / name
        self.directory.mkdir()
        self.directory.chmod(0o777)
        self.output = self.directory / "out"

    def available(self):
        return shutil.which(self.name) is not None

    def result(self, keep_as):
        """The counts, by name, once the process has ended, whose file is then moved."""
        deadline = time.monotonic() + 120
        while not self.is_complete():
            assert time.monotonic() < deadline, f"{self.name} wrote no result"
            time.sleep(0.05)
        counts = self.counts()
        shutil.move(self.output, keep_as)
        return counts


class Callgrind(Tool):
    def command(self, service):
        options = f"-q --tool=callgrind --callgrind-out-file={self.output}"
        return f"{shutil.which('valgrind')} {options} /usr/lib/dovecot/{service}"

    def is_complete(self):
        return self.output.exists() and "\ntotals:" in self.output.read_text(errors="replace")

    def counts(self):
        """Instructions in all ("total"), and within each function and what it calls."""
        done = subprocess.run(
            ["callgrind_annotate", "--inclusive=yes", "--threshold=100", self.output],
            check=True,
            capture_output=True,
            text=True,
        )
        counts = {}
        line = re.compile(r"^\s*([\d,]+) \([\s\d.]+%\)\s+(.*)$", re.M)
        for size, where in line.findall(done.stdout):
            if where.startswith("<counts for"):
                continue
            if where.startswith("PROGRAM TOTALS"):
                name = "total"
            else:
                name = re.sub(r"^[^:]*:([^\[]+?)(?:'\d+)?(?: \[.*)?$", r"\1", where)
            counts[name] = max(counts.get(name, 0), int(size.replace(",", "")))
        return counts


class Strace(Tool):
    def command(self, service):
        options = f"-qq -c -o {self.output}"
        return f"{shutil.which('strace')} {options} /usr/lib/dovecot/{service}"

    def is_complete(self):
        return self.output.exists() and " total" in self.output.read_text()

    def counts(self):
        counts = {}
        for line in self.output.read_text().splitlines():
            words = line.split()
            if len(words) >= 5 and words[3].isdigit():
                counts[words[-1]] = int(words[3])
        return counts


class Counter:
    """Counts with one tool, on a stock server and ours for each mail format."""

    def __init__(self, tool, options, lab, homes, loader):
        self.tool = tool
        self.lab = lab
        self.homes = homes
        self.loader = loader
        self.out = Path(options.out)
        extra = "".join(ONE_CONNECTION.format(s, tool.command(s)) for s in ("lmtp", "imap"))
        self.servers = {
            (f, kind): start(f, kind, options, extra) for f in FORMATS for kind in (STOCK[0], OURS)
        }

    def close(self):
        for server in self.servers.values():
            server.stop()

    def count(self, mail_format, kind, case):
        """Counts of one delivery, or of one command on 1000 mails, by name."""
        if case.kind == "deliver":
            work, amounts = self._deliver, (FEW, MANY)
        else:
            work, amounts = self._store, (0, 1)
        few, many = (work(mail_format, kind, case, amount) for amount in amounts)
        step = amounts[1] - amounts[0]
        return {name: (many[name] - few.get(name, 0)) / step for name in many}

    @contextmanager
    def _users(self, home, mail_format, kind, count=1):
        """The homes belong to the lab's server, whose users have the same names elsewhere."""
        owner = self.lab.get(mail_format, kind)
        server = self.servers[mail_format, kind]
        prefix = self.homes.copies(home, mail_format, kind, count)
        names = [f"{prefix}{number}" for number in range(count)]
        for name in names:
            server.home(name).symlink_to(owner.home(name))
        yield server, prefix
        for name in names:
            server.home(name).unlink()
        self.homes.remove(home, mail_format, kind, prefix, count)

    def _result(self, mail_format, kind, case, amount):
        name = f"{self.tool.name}.{case.name}.{mail_format}.{kind}.{amount}"
        return self.tool.result(self.out / name)

    def _deliver(self, mail_format, kind, case, mails):
        with self._users(case.home, mail_format, kind, USERS) as (server, prefix):
            # The first ones find that the home has been copied.
            self.loader.deliver(
                self.lab.get(mail_format, kind),
                case.mail,
                prefix,
                USERS,
                2 * USERS,
                1,
                case.folder,
            )
            self.loader.deliver(server, case.mail, prefix, USERS, mails, 1, case.folder)
            return self._result(mail_format, kind, case, mails)

    def _store(self, mail_format, kind, case, times):
        with self._users(case.name, mail_format, kind) as (server, prefix):
            with server.imap(prefix + "0") as client:
                # It was opened by root, and will be written by the mail's owner.
                owner = server.home(prefix + "0").stat()
                if self.tool.output.exists():
                    os.chown(self.tool.output, owner.st_uid, owner.st_gid)
                client.must("SELECT INBOX")
                for _ in range(times):
                    if case.kind == "move":
                        seen_and_moved(client, kind)
                    else:
                        timed(client, ALL_SEEN)
                client.must("LOGOUT")
            return self._result(mail_format, kind, case, times)


def count_cases(counter, cases):
    results = []
    for mail_format in FORMATS:
        delivery = None
        for case in cases:
            if case.kind == "deliver":
                # The same for all cases, so once is enough.
                delivery = delivery or counter.count(mail_format, STOCK[0], STOCK_DELIVERY)
                stock = delivery
            else:
                stock = counter.count(mail_format, STOCK[0], case)
            ours = counter.count(mail_format, case.server, case)
            results.append(
                {"case": case.name, "format": mail_format, "stock": stock, "ours": ours}
            )
    order = [case.name for case in cases]
    return sorted(results, key=lambda result: order.index(result["case"]))


def show(name, results):
    print(f"\n{name} of a delivery, or of a command on 1000 mails\n")
    print("| case | format | stock | ours | to stock |\n|---|---|---|---|---|")
    for result in results:
        stock, ours = result["stock"]["total"], result["ours"]["total"]
        print(
            f"| {result['case']} | {result['format']} | {stock:,.0f} | {ours:,.0f} "
            f"| {ours / stock:.3f} |"
        )


def show_functions(results):
    for result in results:
        total = result["stock"]["total"]
        found = [(size, name) for name, size in result["ours"].items() if "coi" in name.lower()]
        print(f"\n{result['case']}, {result['format']}: within our functions and what they call")
        for size, name in sorted(found, reverse=True)[:TOP_FUNCTIONS]:
            if size >= total * LEAST_SHARE:
                print(f"  {size:12,.0f} {size / total:7.2%} of stock in all  {name}")


def show_calls(results):
    for result in results:
        stock, ours = result["stock"], result["ours"]
        more = {
            name: ours.get(name, 0) - stock.get(name, 0)
            for name in {*ours, *stock}
            if name != "total"
        }
        text = ", ".join(
            f"{name} {calls:+.1f}"
            for name, calls in sorted(more.items(), key=lambda item: -item[1])
            if abs(calls) >= 0.05
        )
        print(f"\n{result['case']}, {result['format']}: more than stock: {text or 'none'}")


def count(options, cases):
    cases = [case for case in cases if case.kind in ("deliver", "store", "move")]
    lab = Lab(options)
    loader = Loader(options)
    homes = Homes(lab, loader)
    content = {"about": report.about(options)}
    for tool, title, details in (
        (Callgrind("valgrind", options), "Instructions", show_functions),
        (Strace("strace", options), "System calls", show_calls),
    ):
        if not tool.available():
            print(f"{tool.name} isn't installed: no {title.lower()}", file=sys.stderr)
            continue
        counter = Counter(tool, options, lab, homes, loader)
        try:
            results = count_cases(counter, cases)
        finally:
            counter.close()
        content[tool.name] = results
        show(title, results)
        details(results)
    lab.close()
    (Path(options.out) / "counts.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"\ncounts.json and the tools' own files are in {options.out}")
    return 0

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The cases: each one's slice of work on one server, which gives its samples."""

import random
import select
import statistics
import time
from dataclasses import dataclass

from harness.lmtp import Lmtp

from . import homes
from .servers import FORMATS, LMTP_PROCESSES, OURS, STOCK

USERS = 10
# Slices of deliveries on each server, case, format and number of connections in a round.
PASSES = 5
IDLE_SESSIONS = 10
STORE_REPEATS = 4
ALL_SEEN = f"STORE 1:{homes.STORE_MAILS} +FLAGS (\\Seen)"
NONE_SEEN = f"STORE 1:{homes.STORE_MAILS} -FLAGS (\\Seen)"


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    # deliver, store, move, idle or memory
    kind: str
    # What "value" is, and what it is compared by: a ratio to stock, or as it is.
    unit: str
    compare: str
    # None where it is only for comparison.
    target: float | None
    more_is_better: bool = False
    # Deliveries: the template of the users' homes, and the mail. Stock has the home of a
    # user without COI.
    home: str = ""
    mail: bytes = b""
    # The folder that the mail is addressed to, and the server that is compared with stock.
    folder: str = ""
    server: str = OURS


def _delivery(name, title, target, home, mail, **more):
    return Case(name, title, "deliver", "msg/s", "ratio", target, True, home, mail, **more)


CASES = (
    _delivery("off", "user without COI", 0.99, "off", homes.ORDINARY),
    _delivery("off-chat", "user without COI, chat mail", 0.99, "off", homes.CHAT),
    _delivery("none", "none", 0.97, "none", homes.CHAT),
    _delivery("active", "active", 0.97, "active", homes.CHAT),
    _delivery("contacts", "active, 10,000 contacts", 0.95, "contacts", homes.CHAT),
    _delivery("blocked", "the same, blocked sender", 0.95, "contacts", homes.CHAT_OF_BLOCKED),
    _delivery("mail", "active, ordinary mail", 0.97, "active", homes.ORDINARY),
    # What it costs Dovecot itself that a folder is not INBOX.
    _delivery(
        "folder",
        "stock, mail to +COI/Chats",
        None,
        "active",
        homes.CHAT,
        folder="COI/Chats",
        server=STOCK[0],
    ),
    Case("store", "STORE \\Seen, 1000 mails", "store", "ms", "ratio", 1.05),
    Case("move", "STORE \\Seen, 1000 chats", "move", "ms", "ratio", 1.1),
    Case("idle", "250 to EXISTS in IDLE", "idle", "ms", "value", 10),
    Case("memory", "idle session over stock", "memory", "KiB", "difference", 150),
)
STOCK_DELIVERY = _delivery("stock", "stock", None, "off", homes.CHAT)
BY_NAME = {case.name: case for case in CASES}


class Delivery:
    """One server's deliveries in a round, to fresh users, in several slices."""

    def __init__(self, slices, mail_format, kind, case, connections):
        self.mails = slices.mails
        self.homes = slices.homes
        self.loader = slices.loader
        self.server = slices.lab.get(mail_format, kind)
        self.kind = kind
        self.case = case
        self.connections = connections
        self.home = case.home, mail_format, kind
        self.prefix = self.homes.copies(*self.home, USERS)
        self.seconds = []
        self.cpu = 0

    def do(self):
        before = self.server.cpu_ns()
        nanoseconds = self.loader.deliver(
            self.server,
            self.case.mail,
            self.prefix,
            USERS,
            self.mails,
            self.connections,
            self.case.folder,
        )
        # What it does behind the last 250 counts too.
        time.sleep(0.003)
        self.cpu += self.server.cpu_ns() - before
        self.seconds.append(nanoseconds / 1e9)

    def finish(self):
        """The sample. The median slice, so that a short disturbance doesn't count."""
        self.homes.remove(*self.home, self.prefix, USERS)
        return {
            "value": self.mails / statistics.median(self.seconds),
            "cpu": self.cpu / len(self.seconds) / self.mails / 1e6,
        }


class Slices:
    """Does a round. Each group yields (case, format, connections, server, sample)."""

    def __init__(self, lab, made_homes, loader, options):
        self.lab = lab
        self.homes = made_homes
        self.loader = loader
        self.mails = options.mails

    def groups(self, cases):
        """Functions without arguments. What is in one is compared with each other."""
        found = []
        deliveries = [case for case in cases if case.kind == "deliver"]
        for mail_format in FORMATS:
            if deliveries:
                for connections in (1, LMTP_PROCESSES):
                    found.append(
                        lambda f=mail_format, c=connections: self._deliveries(deliveries, f, c)
                    )
            for case in cases:
                if case.kind != "deliver":
                    found.append(lambda f=mail_format, c=case: self._imap(c, f))
        return found

    def _deliveries(self, cases, mail_format, connections):
        """Stock does the same for all cases, so once is enough."""
        work = [Delivery(self, mail_format, kind, STOCK_DELIVERY, connections) for kind in STOCK]
        work += [Delivery(self, mail_format, case.server, case, connections) for case in cases]
        for _ in range(PASSES):
            random.shuffle(work)
            for delivery in work:
                delivery.do()
        for delivery in work:
            sample = delivery.finish()
            yield delivery.case.name, mail_format, connections, delivery.kind, sample

    def _imap(self, case, mail_format):
        kinds = [*STOCK, OURS]
        random.shuffle(kinds)
        for kind in kinds:
            sample = getattr(self, "_" + case.kind)(mail_format, kind)
            yield case.name, mail_format, None, kind, sample

    def _store(self, mail_format, kind):
        server = self.lab.get(mail_format, kind)
        prefix = self.homes.copies("store", mail_format, kind)
        with server.imap(prefix + "0") as client:
            client.must("SELECT INBOX")
            values, cpu = [], 0
            for _ in range(STORE_REPEATS):
                before = server.cpu_ns()
                values.append(timed(client, ALL_SEEN))
                cpu += server.cpu_ns() - before
                timed(client, NONE_SEEN)
        self.homes.remove("store", mail_format, kind, prefix)
        return {"value": statistics.median(values), "cpu": cpu / STORE_REPEATS / 1e6}

    def _move(self, mail_format, kind):
        server = self.lab.get(mail_format, kind)
        prefix = self.homes.copies("move", mail_format, kind)
        with server.imap(prefix + "0") as client:
            client.must("SELECT INBOX")
            before = server.cpu_ns()
            value = seen_and_moved(client, kind)
            cpu = server.cpu_ns() - before
            assert client.exists("INBOX") == 0
            assert client.exists("COI/Chats") == homes.STORE_MAILS
        self.homes.remove("move", mail_format, kind, prefix)
        return {"value": value, "cpu": cpu / 1e6}

    def _idle(self, mail_format, kind):
        server = self.lab.get(mail_format, kind)
        prefix = self.homes.copies("off", mail_format, kind)
        with server.imap(prefix + "0") as client:
            client.must("SELECT INBOX")
            client.idle()
            # Stock has its timer running already where something else has just happened.
            time.sleep(random.uniform(0.05, 0.15))
            value = self._told_after(server, client, prefix + "0")
            client.done()
        self.homes.remove("off", mail_format, kind, prefix)
        return {"value": value}

    @staticmethod
    def _told_after(server, client, user):
        """Milliseconds from LMTP's 250 to EXISTS: below 0 if the client is told earlier."""
        with lmtp_at_data(server, user) as lmtp:
            lmtp.sock.sendall(homes.CHAT + b".\r\n")
            waiting = {lmtp.sock: b"250 ", client.sock: b" EXISTS\r\n"}
            times = {}
            while waiting:
                readable, _, _ = select.select(list(waiting), [], [], 30)
                assert readable, "the client wasn't told"
                now = time.monotonic()
                for sock in readable:
                    if waiting[sock] in sock.recv(65536):
                        times[sock] = now
                        del waiting[sock]
            return (times[client.sock] - times[lmtp.sock]) * 1e3

    def _memory(self, mail_format, kind):
        server = self.lab.get(mail_format, kind)
        prefix = self.homes.copies("off", mail_format, kind)
        others = set(server.processes("imap"))
        clients = []
        for _ in range(IDLE_SESSIONS):
            clients.append(server.imap(prefix + "0"))
            clients[-1].must("SELECT INBOX")
            clients[-1].idle()
        time.sleep(0.05)
        sizes = [memory_of(pid) for pid in set(server.processes("imap")) - others]
        for client in clients:
            client.done()
            client.close()
        assert len(sizes) == IDLE_SESSIONS, sizes
        self.homes.remove("off", mail_format, kind, prefix)
        return {
            "value": statistics.median(size["Pss"] for size in sizes),
            "private": statistics.median(size["Private_Dirty"] for size in sizes),
        }


def timed(client, command):
    """Milliseconds until a command's tagged OK, whose reading costs next to nothing."""
    start = time.monotonic()
    tag = client.send(command)
    tail = b""
    while b"\r\n" + tag + b" " not in tail or not tail.endswith(b"\r\n"):
        data = client.sock.recv(1 << 18)
        assert data, "the server closed the connection"
        tail = (tail or b"\r\n")[-200:] + data
    end = time.monotonic()
    assert b"\r\n" + tag + b" OK" in tail, tail[-200:]
    return (end - start) * 1e3


def seen_and_moved(client, kind):
    """Milliseconds. Either way the client knows in the end that the mails have gone."""
    move = "NOOP" if kind == OURS else 'UID MOVE 1:* "COI/Chats"'
    return timed(client, ALL_SEEN) + timed(client, move)


def lmtp_at_data(server, user):
    lmtp = Lmtp(server.lmtp_address)
    assert lmtp.command("MAIL FROM:<sender@example.org>").startswith("250")
    assert lmtp.command(f"RCPT TO:<{user}>").startswith("250")
    assert lmtp.command("DATA").startswith("354")
    return lmtp


def memory_of(pid):
    """Name to KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3}

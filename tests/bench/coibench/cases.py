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
from .servers import BAD, FORMATS, LMTP_PROCESSES, OURS, STOCK
from .sink import MODES
from .summary import quantile

USERS = 10
# Slices of deliveries on each server, case, format and number of connections in a round.
PASSES = 5
IDLE_SESSIONS = 10
# For latencies: mails a second, and users, so many that a push is out before its user has
# the next mail.
RATE = 200
RATE_USERS = 100
STORE_REPEATS = 4
ALL_SEEN = f"STORE 1:{homes.STORE_MAILS} +FLAGS (\\Seen)"
NONE_SEEN = f"STORE 1:{homes.STORE_MAILS} -FLAGS (\\Seen)"


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    # deliver, store, move, idle, notify, memory, latency, bad or relay
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
    # Pushes that each mail makes.
    pushes: int = 0
    # The cases that are chosen and measured together with this one, and the samples that
    # it is compared with; both by default those of its own name.
    group: str = ""
    baseline: str = ""
    # Instead of a target: the difference may not be more than that of two equal servers.
    is_noise_target: bool = False


def _delivery(name, title, target, home, mail, **more):
    return Case(
        name,
        title,
        "deliver",
        "msg/s",
        "ratio",
        target,
        True,
        home,
        mail,
        baseline="stock",
        **more,
    )


def _push_bad():
    """Deliveries while the push service is bad, to those of users without a subscription.

    And while it is good: what a push costs anyway.
    """
    for mode, title in (
        ("ok", "push service is good"),
        ("hang", "push service hangs"),
        ("drip", "push service drips"),
        ("refuse", "push service refuses connections"),
    ):
        for part, word in (("", "median"), ("-p99", "p99")):
            yield Case(
                f"push-{mode}{part}",
                f"{title}: DATA to 250, {word}",
                "bad",
                "ms",
                "ratio",
                None,
                group="push-bad",
                server=BAD,
                baseline=f"push-none{part}",
                is_noise_target=mode != "ok",
            )


def _push_latency():
    for name, title, target in (
        ("push-latency", "250 to push, median", 10),
        ("push-latency-p99", "250 to push, p99", 50),
        ("push-data", "DATA to push, median", 10),
        ("push-data-p99", "DATA to push, p99", 50),
    ):
        yield Case(name, title, "latency", "ms", "value", target, group="push-latency")


CASES = (
    _delivery("off", "user without COI", 0.99, "off", homes.ORDINARY),
    _delivery("off-chat", "user without COI, chat mail", 0.99, "off", homes.CHAT),
    _delivery("none", "none", 0.97, "none", homes.CHAT),
    _delivery("active", "active", 0.97, "active", homes.CHAT),
    _delivery("contacts", "active, 10,000 contacts", 0.95, "contacts", homes.CHAT),
    _delivery("blocked", "the same, blocked sender", 0.95, "contacts", homes.CHAT_OF_BLOCKED),
    _delivery("mail", "active, ordinary mail", 0.97, "active", homes.ORDINARY),
    # What it costs Dovecot itself that a user has more folders,
    _delivery(
        "home",
        "stock, to INBOX beside COI's folders",
        None,
        "active",
        homes.CHAT,
        server=STOCK[0],
    ),
    # and that a folder is not INBOX.
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
    Case("notify", "250 to STATUS by NOTIFY", "notify", "ms", "value", 10),
    Case("memory", "idle session over stock", "memory", "KiB", "difference", 150),
    _delivery(
        "push", "active, 1 subscription", 0.95, "push1", homes.CHAT, pushes=1, group="push"
    ),
    _delivery(
        "push10", "active, 10 subscriptions", 0.9, "push10", homes.CHAT, pushes=10, group="push"
    ),
    *_push_bad(),
    *_push_latency(),
    Case("relay", "coi-push alone", "relay", "", "", None),
)
STOCK_DELIVERY = _delivery("stock", "stock", None, "off", homes.CHAT)
BY_NAME = {case.name: case for case in CASES}
CHOICES = list(dict.fromkeys(case.group or case.name for case in CASES))


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
        self.sink = slices.sinks.get("ok") if case.pushes else None
        self.prefix = self.homes.copies(*self.home, USERS, self.sink)
        self.seconds = []
        self.cpu = 0
        self.drain = []
        self.push_rates = []

    def do(self):
        before = self.server.cpu_ns()
        pushed = self.sink.count if self.sink else 0
        nanoseconds, end = self.loader.deliver(
            self.server,
            self.case.mail,
            self.prefix,
            USERS,
            self.mails,
            self.connections,
            self.case.folder,
        )
        if self.sink:
            pushes = self.mails * self.case.pushes
            last = self.sink.wait(pushed + pushes)
            self.drain.append(max(last - end, 0) / 1e6)
            self.push_rates.append(pushes / (max(last - end, 0) + nanoseconds) * 1e9)
        # What it does behind the last 250 counts too.
        time.sleep(0.003)
        self.cpu += self.server.cpu_ns() - before
        self.seconds.append(nanoseconds / 1e9)

    def finish(self):
        """The sample. The median slice, so that a short disturbance doesn't count."""
        self.homes.remove(*self.home, self.prefix, USERS)
        sample = {
            "value": self.mails / statistics.median(self.seconds),
            "cpu": self.cpu / len(self.seconds) / self.mails / 1e6,
        }
        if self.sink:
            sample["drain_ms"] = statistics.median(self.drain)
            sample["pushes_per_second"] = statistics.median(self.push_rates)
        return sample


class Slices:
    """Does a round. Each group yields (case, format, connections, server, sample)."""

    def __init__(self, lab, made_homes, loader, sinks, options):
        self.lab = lab
        self.sinks = sinks
        self.users = {}
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
                if case.kind in ("store", "move", "idle", "notify", "memory"):
                    found.append(lambda f=mail_format, c=case: self._imap(c, f))
            kinds = {case.kind for case in cases}
            if "bad" in kinds:
                found.append(lambda f=mail_format: self._bad(f))
            if "latency" in kinds:
                found.append(lambda f=mail_format: self._latency(f))
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

    # -- latencies. Their users stay the same: their number counts, not their mail. --

    def _rate_users(self, mail_format, kind, mode):
        """The prefix of users whose push service has a mode; None: without subscription."""
        key = mail_format, kind, mode
        if key not in self.users:
            sink = self.sinks.get(mode) if mode else None
            home = "push1" if mode else "off" if kind in STOCK else "active"
            prefix = self.homes.copies(home, mail_format, kind, RATE_USERS, sink)
            self.users[key] = prefix
            # Until every LMTP process knows the way, and nothing is late.
            before = sink.count if sink else 0
            stamps = self._stamps(mail_format, kind, mode)
            if mode == "ok":
                sink.wait(before + len(stamps))
        return self.users[key]

    def _stamps(self, mail_format, kind, mode):
        return self.loader.stamps(
            self.lab.get(mail_format, kind),
            homes.CHAT,
            self._rate_users(mail_format, kind, mode),
            RATE_USERS,
            self.mails,
            LMTP_PROCESSES,
            rate=RATE,
        )

    def _bad(self, mail_format):
        """The users without a subscription are there twice, as A and B."""
        work = {("push-none", kind): (None, []) for kind in STOCK}
        work |= {(f"push-{mode}", BAD): (mode, []) for mode in MODES}
        order = list(work.values())
        for _ in range(PASSES):
            random.shuffle(order)
            for mode, times in order:
                self._rate_users(mail_format, BAD, mode)
                before = self.sinks.get("ok").count
                stamps = self._stamps(mail_format, BAD, mode)
                if mode == "ok":
                    self.sinks.get("ok").wait(before + len(stamps))
                times += [(done - sent) / 1e6 for _, sent, done in stamps]
        for (name, kind), (_, times) in work.items():
            for part, fraction in (("", 0.5), ("-p99", 0.99)):
                sample = {"value": quantile(times, fraction)}
                yield name + part, mail_format, None, kind, sample

    def _latency(self, mail_format):
        """Stock has DATA to 250 where ours has DATA to push."""
        order = [(kind, None, []) for kind in STOCK] + [(OURS, "ok", [])]
        for _ in range(PASSES):
            random.shuffle(order)
            for kind, mode, found in order:
                if mode is None:
                    stamps = self._stamps(mail_format, kind, mode)
                    found += [(sent, done, done) for _, sent, done in stamps]
                else:
                    found += self._pushed(mail_format, kind)
        for kind, mode, found in order:
            after_data = [(push - sent) / 1e6 for sent, _, push in found]
            after_250 = [(push - done) / 1e6 for _, done, push in found]
            for part, fraction in (("", 0.5), ("-p99", 0.99)):
                value = {"value": quantile(after_data, fraction)}
                yield "push-data" + part, mail_format, None, kind, value
                if mode:
                    value = {"value": quantile(after_250, fraction)}
                    yield "push-latency" + part, mail_format, None, kind, value

    def _pushed(self, mail_format, kind):
        """(mail was sent, 250 came, push came) of each mail."""
        self._rate_users(mail_format, kind, "ok")
        sink = self.sinks.get("ok")
        before = sink.count
        stamps = self._stamps(mail_format, kind, "ok")
        sink.wait(before + len(stamps))
        pushes = {}
        for number in range(before, before + len(stamps)):
            nanoseconds, user = sink.record(number)
            pushes.setdefault(user, []).append(nanoseconds)
        for times in pushes.values():
            times.reverse()
        stamps.sort(key=lambda stamp: stamp[1])
        return [(sent, done, pushes[user].pop()) for user, sent, done in stamps]

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
            value = self._told_after(server, client, prefix + "0", b" EXISTS\r\n")
            client.done()
        self.homes.remove("off", mail_format, kind, prefix)
        return {"value": value}

    def _notify(self, mail_format, kind):
        server = self.lab.get(mail_format, kind)
        prefix = self.homes.copies("off", mail_format, kind)
        with server.imap(prefix + "0") as client:
            client.must("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
            time.sleep(random.uniform(0.05, 0.15))
            value = self._told_after(server, client, prefix + "0", b"STATUS INBOX ")
        self.homes.remove("off", mail_format, kind, prefix)
        return {"value": value}

    @staticmethod
    def _told_after(server, client, user, word):
        """Milliseconds from LMTP's 250 to the word: below 0 if the client is told earlier."""
        with lmtp_at_data(server, user) as lmtp:
            lmtp.sock.sendall(homes.CHAT + b".\r\n")
            waiting = {lmtp.sock: b"250 ", client.sock: word}
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

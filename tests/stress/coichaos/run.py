# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Deliveries with push while processes are killed, and the account of it afterwards.

What is acknowledged is a promise: the mail is stored, and each of the user's
devices gets its push, whoever is killed and when. A delivery that was not
acknowledged is repeated, as an MTA does. So a mail may be there twice, but a
copy of it (its UID) should be pushed to a device once.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass

from harness.config import Config
from harness.lmtp import Lmtp
from harness.mails import mail
from harness.push import Subscriber
from harness.server import is_alive, orphans

# What nobody should have to wait for without any push or delivery in between: longer than a
# push service that was down is left alone.
PATIENCE = 900

# No listener, so to mail processes it is as if the service were not there.
STOPPED = """\
service coi-push {
  process_min_avail = 0
  unix_listener coi-push {
    mode = 0
  }
}
"""


class Lost(AssertionError):
    pass


@dataclass
class Options:
    deliveries: int = 10_000
    seed: int = 1
    users: int = 20
    senders: int = 4
    # Deliveries between two killings, on average.
    every: int = 250
    # No service while mail is delivered; it starts afterwards.
    service_stopped: bool = False
    # These last for the middle third of the deliveries.
    sink_down: bool = False
    disk_full: bool = False
    queue_size: str = "16m"


def config():
    return Config(
        push=(
            ("coi_push_queue_limit", 10_000_000),
            ("coi_push_queue_user_limit", 10_000_000),
            ("coi_push_register_limit", 10_000),
            ("coi_push_handoff_timeout", None),
        ),
    )


class Chaos:
    """service: where all devices are; server: a private one with config(), started."""

    def __init__(self, server, service, options, say=lambda text: None):
        self.server = server
        self.service = service
        self.options = options
        self.say = say
        self.random = random.Random(options.seed)
        self.lock = threading.Lock()
        # Number of the mail to its user
        self.acknowledged = {}
        self.numbers = iter(range(options.deliveries))
        self.attempts = 0
        self.failure = None
        self.killed = Counter()
        self.received = Counter()
        # (device, subject, UID) to the number of pushes
        self.counted = 0
        self.filler = None

    # -- before --

    def subscribe(self):
        self.users = {}
        for number in range(self.options.users):
            user = self.server.new_user()
            devices = [
                Subscriber(self.server, user, self.service).subscribe()
                for _ in range(1 + number % 3)
            ]
            self.users[user] = devices
        self.by_path = {one.path: one for devices in self.users.values() for one in devices}
        self.plan = [self.random.choice(list(self.users)) for _ in range(self.options.deliveries)]

    # -- what an MTA does --

    def send(self):
        client = None
        while self.failure is None:
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                break
            user = self.plan[number]
            text = mail(f"N{number}", message_id=f"<chaos-{number}@example.org>")
            begun = time.monotonic()
            while True:
                with self.lock:
                    self.attempts += 1
                try:
                    client = client or Lmtp(self.server.lmtp_address)
                    (reply,) = client.deliver([user], text)
                    if reply.startswith("250"):
                        break
                except (OSError, AssertionError):  # it was killed, or isn't there
                    if client:
                        client.close()
                    client = None
                if time.monotonic() - begun > PATIENCE:
                    self.failure = f"N{number} is not accepted"
                    return
                time.sleep(0.05)
            with self.lock:
                self.acknowledged[number] = user
        if client:
            client.close()

    # -- who kills --

    def await_deliveries(self, count):
        """False when there will be no more."""
        while len(self.acknowledged) < count and self.failure is None:
            if not any(thread.is_alive() for thread in self.threads):
                return False
            time.sleep(0.005)
        return self.failure is None

    def kill(self, name):
        for pid in self.server.children(name):
            try:
                os.kill(pid, signal.SIGKILL)
                self.killed[name] += 1
            except ProcessLookupError:  # it has just ended
                pass

    def stop_and_go(self):
        """The service hangs for some deliveries."""
        pids = self.server.children("coi-push")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.await_deliveries(len(self.acknowledged) + 10)
        for pid in pids:
            if is_alive(pid):
                os.kill(pid, signal.SIGCONT)
        self.killed["(stopped for a while)"] += 1

    def kill_master(self):
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()
        self.killed["dovecot"] += 1
        # Each notices that its master is gone. Those that don't in time aren't ours to wait for.
        deadline = time.monotonic() + 10
        while orphans():
            if time.monotonic() > deadline:
                for pid in orphans():
                    os.kill(pid, signal.SIGKILL)
                    self.killed["(an orphan)"] += 1
            time.sleep(0.02)
        self.server.start()

    def harm(self):
        what = self.random.choices(
            (
                lambda: self.kill("coi-push"),
                lambda: self.kill("lmtp"),
                self.stop_and_go,
                self.kill_master,
                lambda: self.server.doveadm("reload"),
            ),
            (8, 6, 2, 2, 1),
        )
        what[0]()

    def episodes(self):
        """What happens when, by number of deliveries."""
        total, every = self.options.deliveries, self.options.every
        position = 0
        while True:
            position += self.random.randint(1, 2 * every)
            if position >= total:
                break
            yield position, self.harm
        if self.options.sink_down:
            yield total // 3, self.service.down
            yield 2 * total // 3, self.service.up
        if self.options.disk_full:
            yield total // 3, self.fill_disk
            yield 2 * total // 3, self.free_disk

    def fill_disk(self):
        self.filler = self.server.dir / "push/queue/filler"
        with self.filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        self.say("the disk is full")

    def free_disk(self):
        self.filler.unlink()
        self.say("the disk has room again")

    # -- all of it --

    def run(self):
        self.subscribe()
        settings = self.server.settings
        if self.options.service_stopped:
            changed = {**vars(settings), "after": settings.after + STOPPED}
            self.server.restart(type(settings)(**changed))
        self.threads = [
            threading.Thread(target=self.send, daemon=True) for _ in range(self.options.senders)
        ]
        for thread in self.threads:
            thread.start()
        episodes = sorted(self.episodes(), key=lambda episode: episode[0])
        for position, action in episodes:
            # Those that end something are due in any case.
            self.await_deliveries(position)
            if self.failure:
                break
            action()
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise Lost(self.failure)
        self.say(f"{len(self.acknowledged)} acknowledged, {self.attempts} attempts")
        if self.options.service_stopped:
            self.server.restart(settings)
        self.await_pushes()
        return self.account()

    def count(self):
        """Takes down the requests that have come since."""
        with self.service.changed:
            new = self.service.requests[self.counted :]
            self.counted += len(new)
        for request in new:
            one = self.by_path[request.path]
            if request.header("WebPush-Validation") is None:
                payload = one.read(request).payload
                self.received[one.id, payload["subject"], payload["uid"]] += 1
        return len(new)

    def missing(self):
        pushed = {(device, subject) for device, subject, _ in self.received}
        return [
            (one.id, f"N{number}")
            for number, user in self.acknowledged.items()
            for one in self.users[user]
            if (one.id, f"N{number}") not in pushed
        ]

    def await_pushes(self):
        last = time.monotonic()
        while True:
            if self.count():
                last = time.monotonic()
            elif not self.missing():
                return
            elif time.monotonic() - last > PATIENCE:
                return
            time.sleep(0.5)

    def account(self):
        stored, copies = Counter(), 0
        lost = []
        for user in self.users:
            with self.server.imap(user) as client:
                subjects = Counter(client.subjects("INBOX"))
            copies += sum(subjects.values())
            wanted = {f"N{n}" for n, owner in self.acknowledged.items() if owner == user}
            lost += sorted(wanted - set(subjects))
            stored.update(subjects)
        missing = self.missing()
        expected = sum(len(self.users[user]) for user in self.acknowledged.values())
        twice = sum(number - 1 for number in self.received.values())
        result = {
            "deliveries acknowledged": len(self.acknowledged),
            "delivery attempts": self.attempts,
            "mails stored": copies,
            "mails stored again, for a repeated delivery": copies - len(stored),
            "mails lost": len(lost),
            "pushes owed": expected,
            "pushes received": sum(self.received.values()),
            "pushes lost": len(missing),
            "pushes received twice": twice,
            **{f"killed: {name}": number for name, number in sorted(self.killed.items())},
        }
        for what, number in result.items():
            self.say(f"{number:8} {what}")
        if lost:
            raise Lost(f"acknowledged and not stored: {lost[:20]}")
        if missing:
            raise Lost(f"{len(missing)} of {expected} pushes never came: {missing[:20]}")
        # Whatever was under way when somebody was killed is sent again.
        allowed = expected // 100 if expected >= 5000 else 8 * sum(self.killed.values())
        if twice > allowed:
            raise Lost(f"{twice} of {expected} pushes came twice")
        return result


def mount_small_queue(server, size):
    """Before the server is started."""
    queue = server.dir / "push/queue"
    queue.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "coi-queue", queue], check=True)


def unmount_queue(server):
    subprocess.run(["umount", "-l", server.dir / "push/queue"], check=False)

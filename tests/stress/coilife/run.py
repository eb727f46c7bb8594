# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Some users at once, and what happens to coi-push meanwhile."""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from harness.config import Config
from harness.push import eventually

from .client import LIMIT, Client
from .subscription import Broken

# No listener, so to mail processes it is as if the service were not there.
STOPPED = """\
service coi-push {
  process_min_avail = 0
  unix_listener coi-push {
    mode = 0
  }
}
"""


# What comes of a service that isn't there, and of what change_rights() does.
EXPECTED = (
    "coi-push can't register a push subscription: "
    "|Can't tell coi-push that a push subscription was removed: "
    "|coi-push doesn't answer, so its spool is used: "
    r"|service\(coi-push\): child \d+ killed with signal 9"
    r"|service\(coi-push\): command startup failed, throttling"
    r"|dovecot-attributes\) failed: Permission denied"
)


def settings(mail_format):
    """For fresh_server()."""
    push = (("webpush_subscription_limit", LIMIT), ("coi_push_register_limit", 1_000_000))
    return {"mail_format": mail_format, "push": push}


class Run:
    """server: one of its own, for it is restarted. make_service: a function."""

    def __init__(self, server, make_service, seed, users=3):
        self.server = server
        # Whoever kills coi-push makes master say so.
        server.kills = True
        self.random = random.Random(seed)
        self.is_calm = True
        self.is_stopped = False
        self.has_killed = False
        self.clients = [
            Client(self, number, make_service(), f"{seed}-{number}") for number in range(users)
        ]

    def course(self, steps, at_a_time=8):
        """So many steps of each user, and after some of them something happens."""
        begun = len(self.server.log_text())
        done = 0
        while done < steps:
            self.all(lambda client: client.steps(at_a_time))
            done += at_a_time
            happens = self.random.choice((self.kill, self.kill_often, self.stop, self.restart))
            done += happens(at_a_time)
        self.all(Client.finish)
        self.close_sessions()
        text = self.server.log_text()[begun:]
        for client in self.clients:
            if any(secret in text for secret in (*client.secrets, *client.devices)):
                raise Broken(f"a secret of {client.user} is in the log")

    def all(self, do, meanwhile=lambda: None):
        with ThreadPoolExecutor(len(self.clients)) as pool:
            jobs = {client: pool.submit(do, client) for client in self.clients}
            while not all(job.done() for job in jobs.values()):
                meanwhile()
                time.sleep(0.02)
        for client, job in jobs.items():
            if job.exception():
                tail = "\n".join(client.story[-30:])
                raise Broken(f"{tail}\n{job.exception()}") from job.exception()

    def say(self, what):
        for client in self.clients:
            client.say(f"-- {what}")

    def close_sessions(self):
        for client in self.clients:
            client.close()

    def kill_now(self):
        self.has_killed = True
        for pid in self.server.children("coi-push"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                pass

    def await_service(self):
        """Mail processes that have not found it don't ask it for a moment: others will."""
        eventually(lambda: self.server.children("coi-push"), "coi-push")
        self.close_sessions()

    def kill(self, _):
        """Between two steps."""
        self.say("coi-push is killed")
        self.kill_now()
        self.await_service()
        return 0

    def kill_often(self, steps):
        self.say("coi-push is killed again and again")
        self.is_calm = False

        def meanwhile():
            time.sleep(self.random.random())
            self.kill_now()

        self.all(lambda client: client.steps(steps), meanwhile)
        self.await_service()
        self.is_calm = True
        return steps

    def change(self, settings):
        self.close_sessions()
        self.server.restart(settings)

    def restart(self, _):
        self.say("restart")
        self.change(self.server.settings)
        return 0

    def stop(self, steps):
        self.say("no coi-push")
        settings = self.server.settings
        # Nobody is to be told of what has not been done before.
        self.all(Client.await_pushes)
        self.change(Config(**{**vars(settings), "after": STOPPED}))
        self.is_calm, self.is_stopped = False, True
        self.all(lambda client: client.steps(steps))
        self.change(settings)
        self.is_calm, self.is_stopped = True, False
        self.say("coi-push is back")
        return steps

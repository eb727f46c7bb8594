# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Two private servers that dsync keeps the same: the replicator of Dovecot 2.3, or doveadm sync."""

import dataclasses
import re
import select
import socket
import threading
import time

from .config import by_dialect, dialect, import_environment, passwd_file, plugins
from .nodes import copy_vapid, vapid
from .ports import HeldPort
from .push import eventually
from .server import MAIL_UID, Server

PASSWORD = "replica"
# The replicator is told of a change after half a second.
QUIET_SECONDS = 1.2


class Link:
    """The way from one node to the other, which counts how often it is taken."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.held = HeldPort()
        self.port = self.held.number
        self.held.socket.listen()
        self.begun = self.ended = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.held.socket.accept()
            except OSError:
                return
            self.begun += 1
            threading.Thread(target=self.forward, args=(near,), daemon=True).start()

    def forward(self, near):
        try:
            with near, socket.create_connection(("127.0.0.1", self.target_port)) as far:
                others = {near: far, far: near}
                while True:
                    for sock in select.select([near, far], [], [])[0]:
                        data = sock.recv(65536)
                        if not data:
                            return
                        others[sock].sendall(data)
        except OSError:  # it is over
            pass
        finally:
            self.ended += 1

    def close(self):
        self.held.socket.shutdown(socket.SHUT_RDWR)
        self.held.release()


def doveadm_service(port):
    listener = by_dialect(
        v2_3=f"  inet_listener {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n",
        v2_4=f"  inet_listener doveadm {{\n    listen = 127.0.0.1\n    port = {port}\n  }}\n",
    )
    return f"doveadm_password = {PASSWORD}\nservice doveadm {{\n{listener}}}\n"


def replicator(replica):
    """2.3 only."""
    everybody = "{\n    mode = 0666\n  }\n"
    return (
        plugins("notify", "replication")
        + f"plugin {{\n  mail_replica = {replica}\n}}\n"
        + "service aggregator {\n"
        + f"  fifo_listener replication-notify-fifo {everybody}"
        + f"  unix_listener replication-notify {everybody}}}\n"
        + "service replicator {\n  process_min_avail = 1\n"
        + f"  unix_listener replicator-doveadm {everybody}}}\n"
    )


class Pair:
    """nodes, which have the same users and the same VAPID key."""

    def __init__(self, make_server, users=2, **settings):
        self.by_replicator = dialect() == "2.3"
        self.nodes = [make_server(**settings) for _ in range(2)]
        self.ports = [HeldPort() for _ in self.nodes]
        # That of each node leads to the other.
        self.links = [Link(port.number) for port in reversed(self.ports)]
        self.users = [Server.next_name() for _ in range(users)]
        eventually(lambda: all(vapid(node).exists() for node in self.nodes), "both have a key")
        for node in self.nodes:
            node.stop()
        copy_vapid(*self.nodes)
        for number, node in enumerate(self.nodes):
            self.configure(number, node)
            node.start()

    def configure(self, number, node):
        # The replicator asks who there is.
        people = node.dir / "people"
        fields = f":{MAIL_UID}:{MAIL_UID}::{node.homes}"
        people.write_text("".join(f"{user}:{fields}/{user}::\n" for user in self.users))
        more = doveadm_service(self.ports[number].number)
        more += import_environment({"DOVECOT_HOSTDOMAIN": f"node{number}.example.org"})
        if self.by_replicator:
            more += replicator(self.replica(number))
        node.settings = dataclasses.replace(
            node.settings, before=node.settings.before + more, userdb=passwd_file(people)
        )
        node.configure()

    def replica(self, number):
        return f"tcp:127.0.0.1:{self.links[number].port}"

    def new_user(self):
        return self.users.pop(0)

    def syncs(self):
        return sum(link.begun for link in self.links)

    def is_quiet(self):
        return all(link.begun == link.ended for link in self.links) and not any(
            re.search(r"^Queued '\w+' requests\s+[1-9]", node.doveadm("replicator", "status"), re.M)
            for node in self.nodes
        )

    def sync(self, user):
        """Brings what has been done at either node to the other."""
        for node, link, number in zip(self.nodes, self.links, (0, 1)):
            if not self.by_replicator:
                # -f: Dovecot takes a folder for unchanged that has changed as often at both.
                node.doveadm("sync", "-u", user, "-f", self.replica(number))
                continue
            begun = link.begun
            node.doveadm("replicator", "replicate", "-p", "sync", user)
            # One that began before may have missed something.
            eventually(lambda link=link, begun=begun: link.ended > begun, "it is synced")

    def quiet(self):
        """Waits until the replicator has nothing more to sync."""
        since, count = time.monotonic(), self.syncs()
        deadline = since + 120
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.1)
            if not self.is_quiet() or self.syncs() != count:
                since, count = time.monotonic(), self.syncs()
            assert time.monotonic() < deadline, "it never becomes quiet"

    def close(self):
        for link in self.links:
            link.close()
        for port in self.ports:
            port.release()

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Servers under test: a private Dovecot of our own, and what it shares with a container."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import config, instruments
from .imap import Imap, ImapError
from .lmtp import Lmtp
from .ports import HeldPort

PASSWORD = "secret"
# Any unprivileged user will do; nobody has this one.
MAIL_UID = 1500
ROOT = "/private/vendor/vendor.dovecot/coi/config"
PROBLEM = re.compile(r"\b(Panic|Fatal|Error|Warning): ")
CRASH = re.compile(r"\bPanic: |killed with signal (?!9\b|15\b)")
# What stock Dovecot says at shutdown or at an unlucky moment, none of it about mail.
HARMLESS = re.compile(
    r"Killed with signal 15|Shutting down|SIGHUP received|Time moved (back|for)wards?"
    r"|stats-writer .*Timeout waiting for handshake"
    # A process that starts while master reloads, and makes its sockets anew.
    r"|Error reading configuration: stat\(.*/run/config\) failed: No such file or directory"
    # One that starts while master stops.
    r"|Error reading configuration: read\(.*/run/config\) failed: .*Connection reset by peer"
    r"|Failed to read configuration: fd_read\(\) failed: Connection reset by peer"
    r"|child \d+ returned error 89 \(Fatal failure\)"
    # Where more suites run than the kernel has watches for: the spool is polled then.
    r"|coi-push: Warning: Can't watch .*: Too many open files"
)

_user_numbers = itertools.count(1)


def new_user_number():
    return next(_user_numbers)


class Server:
    """What tests ask of a server, wherever it runs."""

    password = PASSWORD
    imap_address = None
    lmtp_address = None
    prefix = ""
    separator = "/"
    # The name of a service of Dovecot's own that may crash by itself in a test.
    fragile = None

    def is_report(self, line):
        """Of a sanitizer, and not about such a service."""
        return instruments.SANITIZER.search(line) and f" {self.fragile}: " not in line

    # -- to be given by the kind of server --

    def new_user(self, name=None):
        """A user who exists and has no mail yet."""
        raise NotImplementedError

    def run(self, *args, input=None):
        """Runs a Dovecot program with the server's configuration. Returns CompletedProcess."""
        raise NotImplementedError

    def log_text(self):
        raise NotImplementedError

    # -- the same everywhere --

    @staticmethod
    def next_name():
        return f"user{new_user_number()}"

    def folder(self, *names):
        return self.prefix + self.separator.join(names)

    @property
    def chats(self):
        return self.folder("COI", "Chats")

    @property
    def contacts(self):
        return self.folder("COI", "Contacts")

    def imap(self, user):
        client = Imap(self.imap_address)
        client.login(user, self.password)
        return client

    def lmtp(self, *recipients, mail):
        """Delivers, and returns the replies."""
        with Lmtp(self.lmtp_address) as client:
            return client.deliver(recipients, mail)

    def lda(self, user, mail, *args):
        return self.run("dovecot-lda", "-d", user, *args, input=mail)

    def doveadm(self, *args):
        done = self.run("doveadm", *args)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout.decode()

    def deliver(self, way, user, mail):
        """Delivers by "lmtp" or "lda", which must succeed."""
        if way == "lmtp":
            (reply,) = self.lmtp(user, mail=mail)
            assert reply.startswith("250"), reply
        else:
            done = self.lda(user, mail)
            assert done.returncode == 0, done.stderr

    def coi_user(self, message_filter=None, name=None):
        """A new user who has enabled COI over IMAP."""
        user = self.new_user(name)
        entries = {f"{ROOT}/enabled": "yes"}
        if message_filter:
            entries[f"{ROOT}/message-filter"] = message_filter
        with self.imap(user) as client:
            response = client.setmetadata(entries)
            assert response.ok, response
        return user

    def where(self, user):
        """Subject to (folder, flags) of all mails of a user."""
        found = {}
        with self.imap(user) as client:
            for folder in client.folders():
                for mail in client.mails(folder):
                    assert mail.subject not in found, f"{mail.subject} is there twice"
                    found[mail.subject] = (folder, mail.flags)
        return found


def await_greeting(address, is_running, story):
    """Waits until an IMAP server answers. story() says why where it never does."""
    deadline = time.monotonic() + 60
    while True:
        try:
            Imap(address).close()
            return
        except (OSError, ImapError):
            if not is_running() or time.monotonic() > deadline:
                raise AssertionError(f"Dovecot did not start:\n{story()}") from None
            time.sleep(0.02)


class PrivateServer(Server):
    """A Dovecot with a configuration of its own, below a directory of its own."""

    _numbers = itertools.count(1)

    def __init__(self, settings, work_dir, shipped_conf):
        self.settings = settings
        self.prefix = settings.prefix
        self.separator = settings.separator
        self.name = f"s{next(self._numbers)}"
        self.dir = Path(work_dir) / self.name
        self.homes = self.dir / "home"
        self.conf = self.dir / "dovecot.conf"
        self.log = self.dir / "log"
        self.dir.mkdir()
        self.homes.mkdir()
        os.chown(self.homes, MAIL_UID, MAIL_UID)
        self.log.touch()
        self.log.chmod(0o666)
        self.ports = HeldPort(), HeldPort()
        self.imap_address, self.lmtp_address = (
            ("127.0.0.1", port.number) for port in self.ports
        )
        self.shipped_conf = shipped_conf
        self.configure()
        self.process = None
        # Whether a test has killed processes of it with SIGKILL.
        self.kills = False
        # A command, with its arguments, that runs it.
        self.runner = ()
        # The test that has it for itself.
        self.test = None

    def configure(self):
        self.conf.write_text(
            config.render(
                self.settings,
                self.shipped_conf,
                self.dir / "push",
                run=self.dir / "run",
                state=self.dir / "state",
                name=self.name,
                log=self.log,
                homes=self.homes,
                uid=self.settings.mail_uid or MAIL_UID,
                password=PASSWORD,
                imap_port=self.imap_address[1],
                lmtp_port=self.lmtp_address[1],
                extra=instruments.snippet(),
                extra_behind_ours=instruments.snippet_behind_ours() if self.settings.coi else "",
            )
        )

    # -- life --

    def start(self):
        self.process = subprocess.Popen(
            [*self.runner, "dovecot", "-F", "-c", self.conf],
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            env=instruments.environment(),
        )
        # Dovecot opens all its listeners before it starts the first process.
        await_greeting(
            self.imap_address,
            self.is_running,
            lambda: self.conf.read_text() + self.log_text(),
        )
        instruments.check(self.process.pid)
        return self

    def is_running(self):
        return bool(self.process) and self.process.poll() is None

    def begin_to_stop(self):
        if self.is_running():
            self.process.terminate()

    def stop(self):
        self.begin_to_stop()
        if self.process:
            self.process.wait(60)

    def kill(self):
        """The machine goes down, as it were: no process gets to say good-bye."""
        pids = [self.process.pid, *self.children()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                pass
        self.process.wait(60)
        while any(is_alive(pid) for pid in pids):
            time.sleep(0.02)
        # Dovecot takes a process of this number for itself.
        (self.dir / "run/master.pid").unlink(missing_ok=True)

    def children(self, name=None):
        """The processes of a service, by the name of its program; all without a name."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                status = (path / "status").read_text()
                program = instruments.program_of(path.name)
            except OSError:  # it has just ended
                continue
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if (
                int(fields["PPid"]) == self.process.pid
                and name in (None, program or fields["Name"])
                and not fields["State"].startswith("Z")
            ):
                found.append(int(path.name))
        return sorted(found)

    def waits(self, name):
        """How often the processes of a service have waited for something."""
        total = 0
        for pid in self.children(name):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status).group(1))
        return total

    def restart(self, settings):
        """The same server, homes and addresses with another configuration."""
        self.stop()
        self.settings = settings
        self.configure()
        self.start()

    def reload(self):
        """Returns when the new configuration holds.

        Until then master closes sockets to which somebody may be connecting. Its new services are
        started after that, and coi-push starts by itself.
        """
        before = set(self.children("coi-push"))
        self.doveadm("reload")
        deadline = time.monotonic() + 60
        while not set(self.children("coi-push")) - before:
            assert time.monotonic() < deadline, self.log_text()
            time.sleep(0.02)

    def remove(self):
        """Stops it and removes its files. A crash that no test noticed is noticed here."""
        self.stop()
        crashes = [
            line
            for line in self.log_text().splitlines()
            if (
                CRASH.search(line)
                and not (self.kills and "killed with signal 9" in line)
                and f"service({self.fragile}): child" not in line
            )
            or self.is_report(line)
        ]
        shutil.rmtree(self.dir)
        for port in self.ports:
            port.release()
        assert not crashes, "\n".join([f"{self.name}, of {self.test}:", *crashes])

    # -- Server --

    def new_user(self, name=None):
        return name or self.next_name()

    def run(self, *args, input=None):
        command, *rest = args
        if command == "dovecot-lda":
            command = "/usr/lib/dovecot/dovecot-lda"
        done = subprocess.run(
            instruments.wrapped([command, "-c", self.conf, *rest]),
            input=input or b"",
            capture_output=True,
            timeout=300,
            env=instruments.environment(),
        )
        stderr = done.stderr.decode(errors="replace")
        assert not instruments.SANITIZER.search(stderr), stderr
        return done

    def log_text(self):
        return self.log.read_text(errors="replace")

    # -- only here --

    def home(self, user):
        return self.homes / user

    def write(self, user, name, text):
        """A file in a user's home that belongs to the user."""
        path = self.home(user) / name
        for directory in reversed(path.parents):
            if not directory.exists():
                directory.mkdir()
                os.chown(directory, MAIL_UID, MAIL_UID)
        path.write_text(text)
        os.chown(path, MAIL_UID, MAIL_UID)
        return path

    def doveconf(self, *args):
        done = self.run("doveconf", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


class Pool:
    """The servers of a test session: one for each configuration, started when first asked for.

    Those that have not been asked for the longest are stopped: each watches its spool, and one
    user may have only so many inotify instances, whatever the number of suites that run.
    """

    MAX_RUNNING = 50

    def __init__(self, work_dir, shipped_conf):
        self.work_dir = work_dir
        self.shipped_conf = shipped_conf
        self.servers = {}
        self.ending = []

    def get(self, settings):
        server = self.servers.pop(settings, None) or self.fresh(settings)
        self.servers[settings] = server  # the last one
        if len(self.servers) > self.MAX_RUNNING:
            self.leave(self.servers.pop(next(iter(self.servers))))
        return server

    def fresh(self, settings):
        """A server that no other test shares. Its caller removes or leaves it."""
        return PrivateServer(settings, self.work_dir, self.shipped_conf).start()

    def leave(self, server):
        """Ends one that nobody asks for any more: it takes about a second, and nobody waits."""
        server.begin_to_stop()
        self.ending.append(server)
        for other in [other for other in self.ending if not other.is_running()]:
            self.ending.remove(other)
            other.remove()

    def close(self):
        for server in self.servers.values():
            self.leave(server)
        while self.ending:
            self.ending.pop().remove()


def is_alive(pid):
    try:
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return False


def orphans():
    """Processes of Dovecot's whose master is gone; in a process namespace of our own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "status").read_text()
            command = (path / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        # "dovecot/lmtp", with the name of the instance, or the program that it is to be.
        is_ours = re.match(rb"dovecot[^/]*/|/usr/lib/dovecot/", command)
        if re.search(r"^PPid:\s+1$", status, re.M) and is_ours:
            found.append(int(path.name))
    return found


def leftover_processes():
    """Dovecot's processes that are there when its masters have ended, and stay there."""
    deadline = time.monotonic() + 20
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                state = re.search(r"^State:\s+(\w)", (path / "status").read_text(), re.M).group(1)
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has just ended
                continue
            if command.startswith("dovecot") and state != "Z":
                found.append(command)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)

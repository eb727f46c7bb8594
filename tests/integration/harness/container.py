# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A Dovecot with the plugin in a container: same tests, another address."""

import os
import subprocess

from .server import Server, await_greeting


# More than the tests need that run against a container.
USERS = 400


class ContainerServer(Server):
    """container: a running container of docker/Dockerfile's image (tests/lib/container-suite)."""

    def __init__(self, container):
        self.container = container
        self.imap_address = ("127.0.0.1", int(os.environ["COI_TEST_IMAP_PORT"]))
        self.lmtp_address = ("127.0.0.1", int(os.environ["COI_TEST_LMTP_PORT"]))
        await_greeting(self.imap_address, self.is_running, self.log_text)
        self.users = self.make_users()

    def make_users(self):
        """All at once: Dovecot looks at its passwd-file once a second at most."""
        names = [self.next_name() for _ in range(USERS)]
        add_all = 'for name; do coi-user add "$name" "$0"; done'
        done = self.run("bash", "-ec", add_all, self.password, *names)
        assert done.returncode == 0, done.stderr
        return iter(names)

    def is_running(self):
        done = self.docker("inspect", "--format", "{{.State.Running}}", self.container)
        return done.stdout.strip() == b"true"

    @staticmethod
    def docker(*args, input=None, check=True):
        return subprocess.run(
            ["docker", *args], input=input, check=check, capture_output=True, timeout=300
        )

    def new_user(self, name=None):
        assert name is None, "a test that needs a certain name is private"
        return next(self.users)

    def run(self, *args, input=None):
        command, *rest = args
        if command == "dovecot-lda":
            command = "/usr/lib/dovecot/dovecot-lda"
        return self.docker(
            "exec", "-i", self.container, command, *rest, input=input or b"", check=False
        )

    def log_text(self):
        done = self.docker("logs", self.container)
        return (done.stdout + done.stderr).decode(errors="replace")

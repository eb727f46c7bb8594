# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A Dovecot whose admin has chosen the user of its services, or that isn't root's at all."""

import dataclasses
import pwd
import shutil
import subprocess

import pytest
from harness.mails import chat
from harness.nodes import vapid

pytestmark = pytest.mark.private

USER, GROUP = "nobody", "nogroup"
CHROOTED = ("anvil", "imap-login", "imap-urlauth-login", "stats")
SETTINGS = f"default_internal_user = {USER}\ndefault_internal_group = {GROUP}\n"
UNPRIVILEGED = f"default_login_user = {USER}\n" + "".join(
    f"service {name} {{\n  chroot =\n}}\n" for name in CHROOTED
)


def uses_push(server, subscriber, subject):
    one = subscriber(server, server.coi_user("active")).subscribe()
    server.deliver("lmtp", one.user, chat(subject))
    assert one.until(subject) == [subject]
    assert vapid(server).owner() == USER


@pytest.mark.parametrize("place", ["before", "after"])
def test_MSG_10_coi_push_was_another_users(fresh_server, subscriber, place):
    """Set behind our file, or with 2.4 anywhere, it counted for all services but this one."""
    uses_push(fresh_server(**{place: SETTINGS}), subscriber, "mail")


def test_MSG_10_coi_push_did_not_start_where_nothing_is_roots(fresh_server, subscriber):
    """As in a container without root: with 2.4 it tried to become dovecot."""
    server = fresh_server(before=SETTINGS + UNPRIVILEGED)
    server.stop()
    # coi-push may not have come so far that it made its own
    for name in ("push", "run"):
        shutil.rmtree(server.dir / name, ignore_errors=True)
    server.settings = dataclasses.replace(server.settings, mail_uid=pwd.getpwnam(USER).pw_uid)
    server.configure()
    subprocess.run(["chown", "-R", f"{USER}:{GROUP}", server.dir], check=True)
    server.runner = ("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups")
    for subject in ("mail", "after a restart"):
        server.start()
        uses_push(server, subscriber, subject)
        server.stop()
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (server.dir / "push").iterdir()}
    assert modes == {"keys": 0o700, "queue": 0o700, "spool": 0o1733}
    server.start()

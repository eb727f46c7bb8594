# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""CAP-3: the admin takes COI from one user, or gives it to one, by the setting "coi"."""

import pytest
from harness.config import passwd_file, settings
from harness.doveadm import rows
from harness.mails import chat
from harness.push import eventually
from harness.server import ROOT

pytestmark = pytest.mark.private

WORDS = {"COI", "WEBPUSH"}


@pytest.mark.parametrize(
    "config",
    [{"after": settings(coi="no")}, {"userdb_fields": ("coi=no",)}],
    ids=["for everybody", "for one user"],
)
def test_CAP_3_a_user_without_COI(make_server, config):
    server = make_server(**config)
    user = server.new_user()
    with server.imap(user) as client:
        assert not WORDS & set(client.capabilities())
        assert not client.setmetadata({f"{ROOT}/enabled": "yes"}).ok
        client.must(f"CREATE {server.chats}")
        client.must(f"DELETE {server.chats}")
    for way in ("lmtp", "lda"):
        server.deliver(way, user, chat(way))
    assert server.where(user) == {"lmtp": ("INBOX", set()), "lda": ("INBOX", set())}
    with server.imap(user) as client:
        assert not [folder for folder in client.folders() if "Chats" in folder]
    (shown,) = rows(server, "status", user)
    assert set(shown.values()) == {"off", "-"}
    assert shown["enabled"] == "off"
    assert rows(server, "subscriptions", user) == []


@pytest.mark.parametrize("everybody", ["yes", "no"])
def test_CAP_3_what_a_user_had_stays_and_counts_again(
    fresh_server, subscriber, work_dir, everybody
):
    passwd = work_dir / "passwd-with-coi"
    passwd.write_text("")
    server = fresh_server(
        userdb=passwd_file(passwd), after=settings(coi=everybody), keep_imap=False
    )
    user = server.new_user()

    def set_userdb(coi):
        extra = "" if coi == everybody else f"userdb_coi={coi}"
        owner = server.homes.stat()
        home = f"{server.homes}/{user}"
        passwd.write_text(f"{user}::{owner.st_uid}:{owner.st_gid}::{home}::{extra}\n")

        def known():
            (shown,) = rows(server, "status", user)
            return (shown["enabled"] == "off") == (coi == "no")

        # Dovecot looks at the file once a second.
        eventually(known, "the userdb has changed")

    set_userdb("yes")
    with server.imap(user) as client:
        assert client.setmetadata({f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": "active"}).ok
    phone = subscriber(server, user).subscribe()
    server.deliver("lmtp", user, chat("with"))
    phone.until("with")

    set_userdb("no")
    server.deliver("lmtp", user, chat("without"))
    with server.imap(user) as client:
        assert not WORDS & set(client.capabilities())
    (shown,) = rows(server, "status", user)
    assert (shown["enabled"], shown["subscriptions"]) == ("off", "-")

    set_userdb("yes")
    server.deliver("lmtp", user, chat("again"))
    assert phone.subjects(2) == ["with", "again"]
    assert server.where(user) == {
        "with": (server.chats, {"$Chat"}),
        "without": ("INBOX", set()),
        "again": (server.chats, {"$Chat"}),
    }
    (shown,) = rows(server, "status", user)
    assert (shown["enabled"], shown["filter"], shown["subscriptions"]) == ("yes", "active", "1")

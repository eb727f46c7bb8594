# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What the admin has set already stays; CAP-3: nothing has to be edited by hand."""

import itertools

import pytest
from harness.config import Config, by_dialect, dialect, metadata_dict, plugins, settings
from harness.lmtp import Lmtp
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private
METADATA = metadata_dict("admin-attributes") + "imap_metadata = yes\n"
COMMENT = "/private/comment"


def assert_coi_works(server, user=None):
    user = user or server.coi_user("active")
    for way in ("lmtp", "lda"):
        server.deliver(way, user, chat(f"chat by {way}"))
        server.deliver(way, user, mail(f"ordinary by {way}"))
        found = server.where(user)
        assert found[f"chat by {way}"] == (server.chats, {"$Chat"})
        assert found[f"ordinary by {way}"] == ("INBOX", set())
    return user


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_admins_metadata_storage_is_the_one_used(make_server, place):
    server = make_server(**{place: METADATA})
    user = assert_coi_works(server)
    assert f"/{ROOT[1:]}".split("/")[-1] in (server.home(user) / "admin-attributes").read_text()
    assert not (server.home(user) / "dovecot-attributes").exists()
    assert "admin-attributes" in server.doveconf("-n")


@pytest.mark.parametrize("place", ["before", "after"])
def test_metadata_that_users_have_stays_theirs(fresh_server, place):
    server = fresh_server(coi=False, before=METADATA)
    user = server.new_user()
    with server.imap(user) as client:
        assert client.setmetadata({COMMENT: "mine"}).ok
        assert client.setmetadata({COMMENT: "of the folder"}, mailbox="INBOX").ok
    server.restart(Config(**{place: METADATA}))
    with server.imap(user) as client:
        assert client.getmetadata(COMMENT) == {COMMENT: b"mine"}
        assert client.getmetadata(COMMENT, mailbox="INBOX") == {COMMENT: b"of the folder"}
        assert client.setmetadata({f"{ROOT}/enabled": "yes", f"{ROOT}/message-filter": "active"}).ok
    assert_coi_works(server, user)
    with server.imap(user) as client:
        assert client.getmetadata(COMMENT) == {COMMENT: b"mine"}


def test_other_metadata_is_not_switched_on(make_server):
    """The shipped file gives COI a storage. Whether users get one is the admin's affair."""
    server = make_server()
    with server.imap(server.new_user()) as client:
        assert client.setmetadata({COMMENT: "mine"}).status in ("NO", "BAD")


# Where admins name plugins: for all, or in the blocks of the protocols, as Debian's files do.
GLOBAL = plugins("notify", "mail_log")
BLOCKS = "".join(plugins("notify", "mail_log", protocol=name) for name in ("lmtp", "lda", "imap"))
LOGGED = settings(mail_log_events="save copy")
KINDS = {"": "nothing", GLOBAL: "for all", BLOCKS: "by protocol"}


# A block ahead of the shipped file is for 2.4 only: 2.3 expands $mail_plugins where it stands.
BEFORE = by_dialect(v2_3=("", GLOBAL), v2_4=("", GLOBAL, BLOCKS))
PLACES = list(itertools.product(BEFORE, ("", GLOBAL, BLOCKS)))


@pytest.mark.parametrize("before, after", PLACES, ids=lambda text: KINDS[text])
def test_the_admins_mail_plugins_stay(make_server, log, before, after):
    server = make_server(before=before, after=after + LOGGED, sieve=True)
    user = assert_coi_works(server)
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag "Mine";\n')
    server.deliver("lmtp", user, chat("with the script"))
    assert server.where(user)["with the script"] == (server.chats, {"$Chat", "Mine"})
    for process in ("lmtp", "lda"):
        assert bool(log.count(server, rf" {process}\(.*\bsave: ")) == bool(before or after)


@pytest.mark.skipif(dialect() != "2.3", reason="2.4 adds to a block wherever it stands")
def test_a_block_ahead_of_the_shipped_file_stays_as_it_is(make_server, log):
    server = make_server(before=BLOCKS)
    log.expect("mail_plugins won't change the setting inside an earlier filter")
    user = server.new_user()
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user) == {"chat": ("INBOX", set())}
    assert server.doveconf("-f", "protocol=lmtp", "-h", "mail_plugins").split() == [
        "notify",
        "mail_log",
    ]


def test_plugins_of_both_sides_work(make_server):
    """One that shows: quota, with its own IMAP command."""
    quota = by_dialect(
        v2_3="plugin {\n  quota = count:User quota\n  quota_vsizes = yes\n}\n",
        v2_4='quota "User quota" {\n  driver = count\n}\n',
    )
    server = make_server(
        before=plugins("quota") + quota, after=plugins("imap_quota", protocol="imap")
    )
    user = assert_coi_works(server)
    with server.imap(user) as client:
        assert {"QUOTA", "COI"} <= set(client.capabilities())
        assert client.command("GETQUOTAROOT INBOX").ok


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_admins_own_setting_wins(make_server, place):
    server = make_server(**{place: settings(coi_mailbox_root="Chatting")})
    with server.imap(server.coi_user()) as client:
        assert "Chatting/Chats" in client.folders()


def test_each_user_has_settings_of_their_own(make_server):
    """An LMTP process keeps what it has parsed for the next user."""
    server = make_server(after=settings(coi_mailbox_root="COI-%{user}"))
    users = [server.coi_user("active") for _ in range(2)]
    order = [users[0], users[0], users[1], users[0]]
    with Lmtp(server.lmtp_address) as client:
        for number, user in enumerate(order):
            (reply,) = client.deliver([user], chat(f"mail {number}"))
            assert reply.startswith("250"), reply
    for user in users:
        found = {subject: folder for subject, (folder, _) in server.where(user).items()}
        wanted = [f"mail {number}" for number, name in enumerate(order) if name == user]
        assert found == dict.fromkeys(wanted, server.chats.replace("COI", f"COI-{user}", 1))

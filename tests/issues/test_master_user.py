# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Master users, who are logged in for others, and what an ACL keeps from them."""

import json

import pytest
from harness.config import PASSDB_2_3, PASSDB_2_4, by_dialect
from harness.imap import Imap
from harness.mails import chat, mail
from harness.push import eventually, subscriptions
from harness.server import PASSWORD, ROOT
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

ENABLED, FILTER = f"{ROOT}/enabled", f"{ROOT}/message-filter"
# Mail processes of 2.4.1 aren't told of a master by themselves, so that ACLs take one for the user.
MASTER_IS_TOLD = by_dialect(v2_3=(), v2_4=("acl_user=%{master_user}",))


def with_master(path):
    """A passdb that knows a master, and everybody else."""
    path.write_text(f"master:{{PLAIN}}{PASSWORD}\n")
    path.chmod(0o644)
    master = by_dialect(
        v2_3=f"passdb {{\n  driver = passwd-file\n  args = {path}\n",
        v2_4=f"passdb passwd-file {{\n  passwd_file_path = {path}\n",
    )
    everybody = by_dialect(v2_3=PASSDB_2_3, v2_4=PASSDB_2_4).format(password=PASSWORD)
    return (
        f"auth_master_user_separator = *\n{master}  master = yes\n"
        f"  result_success = continue\n}}\n{everybody}"
    )


@pytest.fixture
def passdb(work_dir):
    return with_master(work_dir / "masters")


def as_master(server, user):
    client = Imap(server.imap_address)
    client.login(f"{user}*master", PASSWORD)
    return client


def test_ENA_3_FIL_3_IDL_1_MSG_1_SUB_2_a_master_is_as_the_user(make_server, subscriber, passdb):
    server = make_server(passdb=passdb)
    user = server.new_user()
    with as_master(server, user) as client:
        assert client.setmetadata({ENABLED: "yes", FILTER: "seen"}).ok
        phone = subscriber(server, user).subscribe()
        assert client.getmetadata(phone.entry)[phone.entry] is not None
        client.must("SELECT INBOX")
        client.idle()
        server.deliver("lmtp", user, chat("chat"))
        client.idle_until("EXISTS")
        assert client.done().ok
        client.store("1", "+FLAGS", "\\Seen")
        assert phone.until("chat") == ["chat"]
        assert client.setmetadata({phone.entry: None}).ok
    assert server.where(user) == {"chat": (server.chats, {"$Chat", "\\Seen"})}
    assert not subscriptions(server, user)


@pytest.mark.parametrize("rights", ["", "l", "lr"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_SUB_2_MSG_1_a_master_who_may_not_read(
    make_server, subscriber, passdb, mail_format, rights
):
    """They had it pushed to a phone of their own."""
    server = make_server(
        passdb=passdb, mail_format=mail_format, before=ACL, userdb_fields=MASTER_IS_TOLD
    )
    user = server.new_user()
    server.deliver("lmtp", user, mail("first"))
    own, masters = subscriber(server, user).subscribe(), subscriber(server, user)
    if rights:
        inbox = {"maildir": "maildir", "sdbox": "sdbox/mailboxes/INBOX/dbox-Mails"}[mail_format]
        server.write(user, f"{inbox}/dovecot-acl", f"user=master {rights}\n")
    with as_master(server, user) as client:
        assert client.command("SELECT INBOX").ok == ("r" in rights)
        response = client.setmetadata({masters.entry: json.dumps(masters.value)})
        if "r" in rights:
            assert response.ok
            text = eventually(masters.validations, "it is asked")[0].payload["validation"]
            assert client.setmetadata({f"{masters.entry}/validate": text}).ok
        else:
            assert response.status == "NO"
            assert response.text.startswith("[NOPERM] ")
    server.deliver("lmtp", user, mail("secret"))
    assert own.until("secret") == ["secret"]
    if "r" in rights:
        assert masters.until("secret") == ["secret"]
    assert bool(masters.validations()) == (masters.id in subscriptions(server, user))
    assert (masters.id in subscriptions(server, user)) == ("r" in rights)


def test_FIL_3_a_master_who_may_not_see_Chats(make_server, passdb, log):
    """With an error line for each chat that was read. The user's next one takes them along."""
    server = make_server(passdb=passdb, before=ACL, userdb_fields=MASTER_IS_TOLD)
    user = server.coi_user("seen")
    for number in range(3):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    server.write(user, "maildir/dovecot-acl", "user=master lrswte\n")
    with as_master(server, user) as client:
        client.must("SELECT INBOX")
        for number in (1, 2):
            client.store(number, "+FLAGS", "\\Seen")
        assert client.subjects("INBOX") == ["chat 0", "chat 1", "chat 2"]
    eventually(lambda: log.count(server, "Not allowed to move seen chat mail") == 1, "it is told")
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        client.store(3, "+FLAGS", "\\Seen")
        assert client.subjects(server.chats) == ["chat 0", "chat 1", "chat 2"]


def test_ENA_1_ENA_3_ENA_9_folders_that_a_master_may_not_see(make_server, passdb):
    """They are there, and need not be created: the entry was refused, and the folder alone made."""
    server = make_server(
        passdb=passdb, mail_format="sdbox", before=ACL, userdb_fields=MASTER_IS_TOLD
    )
    user = server.coi_user("none")

    def entries():
        with server.imap(user) as client:
            found = client.getmetadata(ENABLED, FILTER)
            return found[ENABLED], found[FILTER]

    with as_master(server, user) as client:
        assert client.setmetadata({FILTER: "active"}).ok
        assert client.setmetadata({ENABLED: None}).ok
        assert entries() == (None, b"active")
        assert client.setmetadata({ENABLED: "yes", FILTER: "seen"}).ok
        assert client.folders() == ["INBOX"]
    assert entries() == (b"yes", b"seen")
    with server.imap(user) as client:
        client.must(f'DELETE "{server.chats}"')
    for path in ("dovecot-acl", "dbox-Mails/dovecot-acl"):
        server.write(user, f"sdbox/mailboxes/COI/{path}", "user=master lk\n")
    with as_master(server, user) as client:
        client.must(f'CREATE "{server.chats}"')
    assert entries() == (b"yes", b"seen")

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own, found by a second review before the first release.

Those of push are in test_push_review.py, too.
"""

import contextlib

import pytest
from harness.config import by_dialect
from harness.contacts import SENDER, block
from harness.contacts_index import read_header
from harness.mails import chat, mail
from harness.server import ROOT

pytestmark = pytest.mark.private

DETAIL = "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\n"


@pytest.fixture
def alias_server(make_server):
    """Folders are below INBOX/, and also where they were before, as after a migration."""
    alias = "namespace compat {\n  prefix =\n  separator = /\n  hidden = yes\n  list = no\n"
    alias += "  alias_for = " + by_dialect(v2_3="INBOX/", v2_4="inbox") + "\n}\n"
    return make_server(prefix="INBOX/", before=alias)


def test_ENA_1_an_alias_with_a_shorter_prefix_took_COI_away(alias_server):
    """It came first, and was taken for the namespace of INBOX."""
    user = alias_server.coi_user("active")
    alias_server.deliver("lmtp", user, chat("chat"))
    with alias_server.imap(user) as client:
        root = f"{ROOT}/mailbox-root"
        assert client.getmetadata(root) == {root: b"INBOX/COI"}
        assert client.subjects("INBOX/COI/Chats") == ["chat"]
        assert client.subjects("COI/Chats") == ["chat"]


@pytest.mark.parametrize("prefix", ["", "INBOX/"])
def test_ENA_6_ENA_8_an_alias_with_a_shorter_prefix_voided_the_rules(alias_server, prefix):
    user = alias_server.coi_user("active")
    with alias_server.imap(user) as client:
        assert not client.setmetadata({f"{ROOT}/enabled": "true"}).ok
        assert not client.command(f"RENAME {prefix}COI/Chats {prefix}Elsewhere").ok
        assert not client.command(f"RENAME {prefix}COI {prefix}Elsewhere").ok
        client.must(f"DELETE {prefix}COI/Chats")
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": None}


def test_SUB_2_an_alias_with_a_shorter_prefix_took_push_away(alias_server, subscriber):
    one = subscriber(alias_server, alias_server.coi_user("active")).subscribe()
    alias_server.deliver("lmtp", one.user, chat("chat"))
    assert one.until("chat") == ["chat"]
    assert one.stored()["resource"]["keys"]["auth"] == ""


@pytest.mark.parametrize("sender", [f"Bob: {SENDER};", f"Nobody:;, Bob <{SENDER}>"])
def test_BLK_3_a_group_in_From_hid_who_was_blocked(make_server, sender):
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    text = mail("mail").replace(b"From: ", b"From: " + sender.encode() + b"\nX-From: ", 1)
    server.deliver("lmtp", user, text)
    assert server.where(user)["mail"][0] == server.folder("Blocked")


def test_BLK_3_a_detail_made_blocked_mail_push(make_server, subscriber):
    server = make_server(before=DETAIL)
    one = subscriber(server, server.coi_user("active")).subscribe()
    block(server, one.user)
    with server.imap(one.user) as client:
        client.must("CREATE Work")
    for number in range(3):
        server.lmtp(f"{one.user}+Work", mail=mail(f"blocked {number}"))
    server.lmtp(f"{one.user}+Work", mail=mail("last").replace(SENDER.encode(), b"good@example.org"))
    assert one.until("last") == ["last"]
    # FIL-9: it is still where it was sent to.
    assert {folder for folder, _ in server.where(one.user).values()} >= {"Work"}


def test_BLK_3_blocked_mail_was_pushed_where_Blocked_is_unusable(make_server, subscriber, log):
    server = make_server()
    one = subscriber(server, server.coi_user("active")).subscribe()
    block(server, one.user)
    server.write(one.user, "maildir/.Blocked", "in the way")
    log.expect("Blocked|coi: ")
    server.deliver("lmtp", one.user, mail("blocked"))
    server.deliver("lmtp", one.user, mail("last").replace(SENDER.encode(), b"good@example.org"))
    assert one.until("last") == ["last"]


def test_FIL_9_dovecot_lda_was_not_let_into_Contacts(make_server):
    """An address with a detail isn't either, and shall not be: it says who is blocked."""
    server = make_server(before=DETAIL)
    user = server.coi_user("active")
    done = server.lda(user, mail("by lda"), "-m", server.contacts)
    assert done.returncode == 0, done.stderr
    server.lmtp(f"{user}+{server.contacts}", mail=mail("by lmtp"))
    found = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert found == {"by lda": server.contacts, "by lmtp": "INBOX"}


def test_a_typo_in_a_webpush_setting_was_ignored_in_silence(make_server, log):
    log.expect("coi: Ignoring unknown setting plugin/webpush_subscription_limt")
    if by_dialect(v2_3=False, v2_4=True):
        pytest.skip("Dovecot 2.4 refuses it itself")
    server = make_server(after="plugin {\n  webpush_subscription_limt = 2\n}\n")
    with server.imap(server.coi_user("active")):
        pass
    assert log.count(server, "webpush_subscription_limt") >= 1


@contextlib.contextmanager
def something_in_the_way(server, user, log):
    """Where Chats is, so that nothing can be moved there."""
    mail_format = server.settings.mail_format
    name = ".COI.Chats" if mail_format == "maildir" else "mailboxes/COI/Chats"
    chats = f"{mail_format}/{name}"
    folder = server.home(user) / chats
    log.expect("Chats|coi: ")
    kept = folder.rename(folder.with_name("kept"))
    server.write(user, chats, "in the way")
    yield
    folder.unlink()
    kept.rename(folder)


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_a_seen_chat_whose_move_failed_stayed_in_INBOX(make_server, log, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    with server.imap(user) as client:
        for number in range(4):
            server.deliver("lmtp", user, chat(f"chat {number}"))
        server.deliver("lmtp", user, mail("mail"))
        client.must("SELECT INBOX")
        with something_in_the_way(server, user, log):
            client.must("STORE 1:2 +FLAGS (\\Seen)")
            client.must("STORE 3 +FLAGS (\\Seen)")
        # One that is no longer seen, or no chat any more, stays, as it would have.
        client.must("STORE 1 -FLAGS ($Chat)")
        client.must("STORE 2,5 -FLAGS (\\Seen)")
        client.must("STORE 4 +FLAGS (\\Seen)")
    found = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert found == {
        **{f"chat {number}": server.chats for number in (2, 3)},
        **{f"chat {number}": "INBOX" for number in (0, 1)},
        "mail": "INBOX",
    }


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_what_several_moves_have_left_is_moved_together(make_server, log, mail_format):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("seen")
    for number in range(4):
        server.deliver("lmtp", user, chat(f"chat {number}"))
    with server.imap(user) as client:
        client.must("SELECT INBOX")
        with something_in_the_way(server, user, log):
            for number in (1, 2, 3):
                client.must(f"STORE {number} +FLAGS (\\Seen)")
        client.must("STORE 4 +FLAGS (\\Seen)")
    found = {subject: folder for subject, (folder, _) in server.where(user).items()}
    assert found == {f"chat {number}": server.chats for number in range(4)}


def test_BLK_5_one_damaged_contact_made_each_delivery_read_all(make_server, log):
    server = make_server(mail_format="sdbox")
    user = server.coi_user("active")
    for address in ("one@example.org", "two@example.org", "three@example.org"):
        block(server, user, address)
    log.expect("dbox|Corrupted|EOF|Rebuild|rebuild|coi: ")
    folder = server.home(user) / "sdbox/mailboxes/COI/Contacts/dbox-Mails"
    damaged = sorted(folder.glob("u.*"))[1]
    damaged.unlink()
    damaged.mkdir()
    index = folder / "dovecot-coi.contacts"
    index.unlink(missing_ok=True)
    for round in range(2):
        for address in ("one@example.org", "three@example.org", SENDER):
            text = mail(f"{address} {round}").replace(SENDER.encode(), address.encode())
            server.deliver("lmtp", user, text)
        # The others, and that this one is to be read again later.
        assert read_header(index).count == 3
    with server.imap(user) as client:
        assert client.subjects("INBOX") == [f"{SENDER} 0", f"{SENDER} 1"]

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""The index of contacts, which says who is blocked: it is new, in memory, damaged or no file."""

import os

import pytest
from harness.config import by_dialect
from harness.contacts import SENDER, block
from harness.contacts_index import (
    UNREAD,
    Record,
    index_of,
    read_header,
    read_records,
    write_records,
)
from harness.imap import Literal
from harness.mails import mail
from harness.server import MAIL_UID

pytestmark = pytest.mark.private


def test_BLK_3_BLK_5_nobody_was_blocked_where_the_index_of_Contacts_is_new(make_server):
    """After a restore, or where indexes are in a tmpfs and the machine was booted."""
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    for path in (server.home(user) / "maildir/.COI.Contacts").glob("dovecot*"):
        if path.name != "dovecot-uidlist":
            path.unlink()
    for number in range(2):
        server.deliver("lmtp", user, mail(f"mail {number}"))
        assert server.where(user)[f"mail {number}"][0] == server.folder("Blocked")


def test_BLK_3_nobody_was_ever_blocked_where_indexes_are_in_memory(make_server):
    before = by_dialect(
        v2_3="mail_location = maildir:~/maildir:INDEX=MEMORY\n",
        v2_4="mail_index_path = MEMORY\n",
    )
    server = make_server(before=before)
    user = server.coi_user("active")
    block(server, user)
    server.deliver("lmtp", user, mail("mail"))
    assert server.where(user)["mail"][0] == server.folder("Blocked")


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


@pytest.mark.parametrize("name", ["maildir/.COI.Contacts/dovecot-coi.contacts"])
def test_a_FIFO_in_place_of_an_index_held_up_deliveries(make_server, name):
    server = make_server()
    user = server.coi_user("active")
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(b"Chat-Content: contact\r\n\r\n"))
    path = server.home(user) / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    os.chown(path, MAIL_UID, MAIL_UID)
    server.deliver("lmtp", user, mail("mail"))
    assert server.where(user)["mail"][0] == "INBOX"


@pytest.mark.parametrize("way", ["lmtp", "lda"])
@pytest.mark.parametrize("damage", ["record", "head"])
def test_BLK_1_zeros_in_the_index_ended_each_delivery(make_server, damage, way):
    """As a crash of the machine may leave them. No mail has the UID 0, and Dovecot ends the
    process that asks for it, with all its recipients."""
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    server.deliver(way, user, mail("first"))
    index = index_of(server, user)
    records = read_records(index)
    if damage == "record":
        write_records(index, [Record(UNREAD, 0, 0, 0), *records])
    else:
        write_records(index, records, uidnext=0)
    # What is fresh isn't looked through.
    block(server, user, "other@example.org")
    server.deliver(way, user, mail("second"))
    server.deliver(way, user, mail("third"))
    with server.imap(user) as client:
        assert client.subjects(server.folder("Blocked")) == ["first", "second", "third"]
    assert sorted(record.uid for record in read_records(index)) == [1, 2]


@pytest.mark.parametrize("ours", [False, True], ids=["new contact", "no index"])
def test_BLK_3_nobody_was_blocked_after_the_loss_of_dovecot_uidlist(make_server, ours):
    """Until a client opened Contacts: a mail without a file counted as expunged."""
    server = make_server()
    user = server.coi_user("active")
    block(server, user)
    server.deliver("lmtp", user, mail("before"))
    block(server, user, "other@example.org")
    index = index_of(server, user)
    index.with_name("dovecot-uidlist").unlink()
    if ours:
        index.unlink()
    for number in range(2):
        text = mail(f"mail {number}").replace(b"sender@", b"other@")
        server.deliver("lmtp", user, text)
        server.deliver("lmtp", user, mail(f"more {number}"))
    with server.imap(user) as client:
        assert client.subjects("INBOX") == []
        assert client.exists(server.contacts) == 2

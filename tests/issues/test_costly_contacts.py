# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Contacts that can't be read kept a delivery busy for half a minute, each hour.

The header of a contact has a limit, and so has their number, but 60,000 with 60 KB each
are some gigabytes. Each delivery that began before one had finished read all of them, and
so did the first one of each hour.
"""

import hashlib
import os

import pytest
from harness.contacts import block
from harness.contacts_index import UNREAD, index_of, read_header, read_records, write_records
from harness.mails import mail
from harness.push import eventually
from harness.server import MAIL_UID

COUNT = 2000


def make_due(path):
    records = read_records(path)
    write_records(
        path, [record._replace(date=1) if record.hash == UNREAD else record for record in records]
    )


def unread(path):
    """How many contacts are due at once, and how many after a pause."""
    dates = [record.date for record in read_records(path) if record.hash == UNREAD]
    return sum(date == 1 for date in dates), sum(date > 1 for date in dates)


@pytest.mark.private
def test_BLK_1_a_delivery_reads_some_megabytes_of_contacts(make_server, log):
    log.expect("coi: Can't read the contact with UID")
    server = make_server()
    user = server.coi_user()
    folder = server.home(user) / "maildir" / ".COI.Contacts"
    first = folder / "cur" / "1000000000.M1P1.test:2,S"
    first.write_bytes(b"\x01: x\n" + b"X: y\n" * 12_000 + b"\n")
    os.chown(first, MAIL_UID, MAIL_UID)
    for number in range(2, COUNT + 1):
        os.link(first, folder / "cur" / f"1000000000.M{number}P1.test:2,S")
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
    block(server, user)

    index = folder / "dovecot-coi.contacts"
    server.deliver("lmtp", user, mail("first"))
    header = read_header(index)
    assert COUNT / 4 < header.uidnext < COUNT and header.count == header.uidnext - 1
    assert header.log == (0, 0, 0), "a log that doesn't change lets none go on"
    server.deliver("lmtp", user, mail("second"))
    server.deliver("lmtp", user, mail("third"))
    assert read_header(index).uidnext == COUNT + 2 and unread(index) == (0, COUNT)
    # They don't keep out the one that can be read.
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["first"]
        assert client.subjects("Blocked") == ["second", "third"]

    make_due(index)
    server.deliver("lmtp", user, mail("fourth"))
    due, paused = unread(index)
    assert COUNT / 4 < paused < COUNT and due + paused == COUNT
    server.deliver("lmtp", user, mail("fifth"))
    assert unread(index) == (0, COUNT)
    with server.imap(user) as client:
        assert client.subjects("Blocked") == ["fifth", "fourth", "second", "third"]


CONTACTS_MAX = 65536


def address(number):
    return f"{number}@example.org"


@pytest.mark.private
def test_BLK_1_there_are_only_so_many_contacts(make_server, log):
    """With any number a delivery, to somebody else as well, could run out of memory."""
    log.expect(f"There are more than {CONTACTS_MAX} contacts|Can't read the contact with UID")
    server = make_server()
    user = server.coi_user()
    folder = server.home(user) / "maildir" / ".COI.Contacts"
    hashes = [
        f"COI-From-Hash: {hashlib.sha3_256(address(number).encode()).hexdigest()}\n"
        for number in range(CONTACTS_MAX + 1000)
    ]
    fields = ["".join(hashes[first : first + 800]) for first in range(0, len(hashes), 800)]
    # One that can't be read takes as much room.
    for number, text in enumerate([*fields, "\x01: x\n" + "X: y\n" * 12_000]):
        path = folder / "cur" / f"1000000000.M{number:05}P1.test:2,S"
        path.write_text(f"{text}Chat-Content: contact\nCOI-Blocked: yes\n\n")
        os.chown(path, MAIL_UID, MAIL_UID)
    with server.imap(user) as client:
        client.must(f'SELECT "{server.contacts}"')
    for number in (0, CONTACTS_MAX - 1, CONTACTS_MAX):
        text = mail(f"of {number}").replace(b"sender@example.org", address(number).encode())
        server.deliver("lmtp", user, text)
    with server.imap(user) as client:
        assert client.subjects("Blocked") == ["of 0", f"of {CONTACTS_MAX - 1}"]
    assert read_header(folder / "dovecot-coi.contacts").count == CONTACTS_MAX
    eventually(lambda: log.count(server, "There are more than") == 1, "it is logged")


@pytest.mark.private
def test_BLK_1_an_index_of_more_contacts_is_none(make_server, log):
    """The file is the user's, and an update takes all that is in it into memory."""
    log.expect("There are more than")
    server = make_server()
    user = server.coi_user()
    block(server, user, "other@example.org")
    server.deliver("lmtp", user, mail("first"))
    index = index_of(server, user)
    (record,) = read_records(index)
    hashes = [hashlib.sha3_256(address(number).encode()).digest() for number in range(CONTACTS_MAX)]
    hashes.append(hashlib.sha3_256(b"sender@example.org").digest())
    for subject, some in (("all", hashes[1:]), ("one more", hashes)):
        write_records(index, [record._replace(hash=each) for each in sorted(some)])
        server.deliver("lmtp", user, mail(subject))
    with server.imap(user) as client:
        assert client.subjects("Blocked") == ["all"]
        assert client.subjects("INBOX") == ["first", "one more"]

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a contact says in its header: many hashes, a header without end, a date before 1970."""

import hashlib

import pytest
from harness.contacts import SENDER, add, block, fetch_headers, hash_of, where_each
from harness.imap import Literal
from harness.mails import mail

FORMATS = ["maildir", "sdbox", "mdbox"]


@pytest.mark.private
@pytest.mark.parametrize("cached", [False, True], ids=["", "cached"])
def test_BLK_4_a_Date_before_1970_was_the_newest_in_the_cache(make_server, cached):
    """Dovecot keeps the date of a mail without a sign."""
    server = make_server()
    user = server.coi_user("none")
    contact = ("Chat-Content: contact", f"COI-From-Hash: {hash_of(SENDER)}")
    add(server, user, *contact, "Date: Sat, 4 Jan 2025 10:00:00 +0000", "COI-Blocked: yes")
    add(server, user, *contact, "Date: Fri, 1 Jan 1960 10:00:00 +0000")
    if cached:
        fetch_headers(server, user)
    assert where_each(server, user, "a") == [server.folder("Blocked")]


def many_hashes(count):
    """Fields for as many addresses, 80 octets each with a single line feed."""
    return [f"COI-From-Hash: {hash_of(f'{number}@example.org')}" for number in range(count)]


@pytest.mark.private
@pytest.mark.parametrize("cached", [False, True], ids=["", "cached"])
@pytest.mark.parametrize("mail_format", FORMATS)
def test_BLK_1_the_33rd_hash_of_a_contact_did_not_block(make_server, mail_format, cached):
    server = make_server(mail_format=mail_format)
    user = server.coi_user("active")
    # A header of nearly 64 KB.
    add(server, user, "Chat-Content: contact", "COI-Blocked: yes", *many_hashes(805))
    if cached:
        fetch_headers(server, user)
    for number in (0, 31, 32, 804):
        text = mail(f"of {number}").replace(SENDER.encode(), f"{number}@example.org".encode())
        server.deliver("lmtp", user, text)
    assert where_each(server, user, "other") == ["INBOX"]
    with server.imap(user) as client:
        blocked = client.subjects(server.folder("Blocked"))
    assert blocked == ["of 0", "of 31", "of 32", "of 804"]


@pytest.mark.private
def test_BLK_1_a_header_above_64_KB_is_no_contact(make_server):
    server = make_server()
    user = server.coi_user("active")
    add(server, user, "Chat-Content: contact", "COI-Blocked: yes", *many_hashes(820))
    block(server, user)
    text = mail("of 0").replace(SENDER.encode(), b"0@example.org")
    server.deliver("lmtp", user, text)
    assert where_each(server, user, "blocked") == [server.folder("Blocked")]
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["of 0"]


def test_endless_contacts_could_exhaust_a_delivery(server):
    """A header of many megabytes is no contact."""
    user = server.coi_user("active")
    hashes = "".join(f"COI-From-Hash: {number:064x}\r\n" for number in range(100_000))
    ours = f"COI-From-Hash: {hashlib.sha3_256(b'sender@example.org').hexdigest()}\r\n"
    text = f"Chat-Content: contact\r\nCOI-Blocked: yes\r\n{ours}{hashes}\r\n".encode()
    with server.imap(user) as client:
        client.must(f'APPEND "{server.contacts}" ', Literal(text))
    server.deliver("lmtp", user, mail("mail"))
    with server.imap(user) as client:
        assert client.subjects("INBOX") == ["mail"]

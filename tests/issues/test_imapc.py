# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Who is blocked stayed what the first delivery had found, where the mail is on another server.

Dovecot's own index of the folder doesn't change then until the folder is opened.
"""

import hashlib

import pytest
from harness.config import by_dialect
from harness.imap import Literal
from harness.mails import chat
from harness.server import PASSWORD

pytestmark = pytest.mark.private

CONTACT = (
    "Subject: contact\r\nChat-Content: contact\r\nCOI-Blocked: yes\r\n"
    f"COI-From-Hash: {hashlib.sha3_256(b'sender@example.org').hexdigest()}\r\n\r\n"
)


def on(server):
    """Has the mail there, by IMAP."""
    host, port = server.imap_address
    there = f"imapc_host = {host}\nimapc_port = {port}\nimapc_password = {PASSWORD}\n"
    return there + by_dialect(
        v2_3="mail_location = imapc:~/imapc\nimapc_user = %u\n",
        v2_4="mail_driver = imapc\nmail_path = ~/imapc\nimapc_user = %{user}\n",
    )


def test_BLK_3_BLK_5_FIL_2_mail_on_another_server(make_server, stock):
    server = make_server(mail_format="imapc", before=on(stock))
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("before"))
    with server.imap(user) as client:
        client.must(f"APPEND {server.contacts} ", Literal(CONTACT))
    server.deliver("lmtp", user, chat("blocked"))
    with server.imap(user) as client:
        client.must(f"SELECT {server.contacts}")
        client.store("1", "+FLAGS", "\\Deleted")
        client.must("EXPUNGE")
    server.deliver("lmtp", user, chat("after"))
    assert stock.where(user) == {
        "before": (server.chats, {"$Chat"}),
        "blocked": ("Blocked", {"$Chat"}),
        "after": (server.chats, {"$Chat"}),
    }

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A folder that somebody chooses and that takes no mail."""

import pytest
from harness.contacts import block
from harness.mails import chat, mail
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

DETAIL = (
    "lmtp_save_to_detail_mailbox = yes\nrecipient_delimiter = +\nlda_mailbox_autocreate = yes\n"
)


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("detail", ["a//b", "Work"], ids=["impossible", "forbidden"])
def test_FIL_2_BLK_3_FIL_9_it_got_round_the_filter_and_blocking(make_server, log, sieve, detail):
    """Dovecot stores to INBOX then, so it is no choice. Any sender can have that."""
    log.expect("sieve: ")
    server = make_server(before=DETAIL + ACL, sieve=sieve)
    users = {mode: server.coi_user(mode) for mode in ("none", "active")}
    for user in users.values():
        with server.imap(user) as client:
            client.must("CREATE Work")
        server.write(user, "maildir/.Work/dovecot-acl", "owner lr\n")

    def send(text):
        for user in users.values():
            (reply,) = server.lmtp(f'"{user}+{detail}"', mail=text)
            assert reply.startswith("250"), reply

    send(chat("chat"))
    send(mail("mail"))
    for user in users.values():
        block(server, user)
    send(chat("blocked chat"))
    send(mail("blocked mail"))
    blocked = server.folder("Blocked")
    for mode, user in users.items():
        assert {name: where for name, where in server.where(user).items() if name} == {
            "chat": (server.chats if mode == "active" else "INBOX", {"$Chat"}),
            "mail": ("INBOX", set()),
            "blocked chat": (blocked, {"$Chat"}),
            "blocked mail": (blocked, set()),
        }

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own, found by a review of what is made of a mail."""

import pytest
from harness.config import by_dialect, settings
from harness.mails import chat

pytestmark = pytest.mark.private

EDITHEADER = by_dialect(
    v2_3=settings(sieve_extensions="+editheader"),
    v2_4="sieve_extensions {\n  editheader = yes\n}\n",
)


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_8_a_script_that_edits_the_mail_kept_the_Chat_of_another_recipient(
    make_server, mail_format
):
    """What is stored then is neither in a mailbox of the first recipient nor of the second."""
    server = make_server(sieve=True, after=EDITHEADER, mail_format=mail_format)
    first, second = server.coi_user("active"), server.new_user()
    script = 'require ["editheader", "imap4flags"]; addheader "X-Mine" "yes"; addflag "Mine";\n'
    server.write(second, ".dovecot.sieve", script)
    server.lmtp(first, second, mail=chat("chat"))
    assert server.where(first) == {"chat": (server.chats, {"$Chat"})}
    assert server.where(second) == {"chat": ("INBOX", {"Mine"})}

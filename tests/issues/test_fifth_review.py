# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What a review of deliveries to several recipients found."""

import pytest
from harness.mails import chat

pytestmark = pytest.mark.private

FORMATS = ("maildir", "sdbox", "mdbox")


def with_script(server, script, message_filter=None):
    user = server.coi_user(message_filter) if message_filter else server.new_user()
    server.write(user, ".dovecot.sieve", f'require ["imap4flags", "fileinto"];\n{script}\n')
    return user


@pytest.mark.parametrize("mail_format", FORMATS)
@pytest.mark.parametrize("first", ["none", "active"])
@pytest.mark.parametrize("second", [None, "none", "active"])
def test_FIL_7_FIL_8_a_script_saw_the_Chat_of_another_recipient(
    make_server, mail_format, first, second
):
    """And did with the mail what it does with such: here, it was lost."""
    server = make_server(mail_format=mail_format, sieve=True)
    user = with_script(server, 'if hasflag "$Chat" { discard; }', second)
    other = server.coi_user(first)
    server.lmtp(user, other, mail=chat("behind us"))
    server.lmtp(other, user, mail=chat("before us"))
    folder = server.chats if second == "active" else "INBOX"
    flags = {"$Chat"} if second else set()
    assert server.where(user) == {"behind us": (folder, flags), "before us": (folder, flags)}
    folder = server.chats if first == "active" else "INBOX"
    assert server.where(other) == {
        name: (folder, {"$Chat"}) for name in ("behind us", "before us")
    }


@pytest.mark.parametrize("mail_format", FORMATS)
@pytest.mark.parametrize(
    "script",
    [
        'addflag ["$Chat", "Mine"]; keep;',
        'setflag ["$Chat", "Mine"]; keep;',
        'fileinto :flags ["$Chat", "Mine"] "INBOX";',
    ],
)
def test_FIL_7_the_Chat_of_a_users_own_script_was_taken(make_server, mail_format, script):
    server = make_server(mail_format=mail_format, sieve=True)
    user, third = with_script(server, script), server.new_user()
    server.lmtp(server.coi_user("active"), user, third, mail=chat("chat"))
    assert server.where(user) == {"chat": ("INBOX", {"$Chat", "Mine"})}
    assert server.where(third) == {"chat": ("INBOX", set())}

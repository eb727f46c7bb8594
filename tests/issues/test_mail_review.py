# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Mistakes of our own, found by a review of what is made of a mail."""

import pytest
from harness.config import by_dialect, settings
from harness.mails import chat, mail
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

EDITHEADER = by_dialect(
    v2_3=settings(sieve_extensions="+editheader"),
    v2_4="sieve_extensions {\n  editheader = yes\n}\n",
)


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
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


def text_of(server, user, folder):
    with server.imap(user) as client:
        client.must(f'SELECT "{folder}"')
        (line,) = client.must("FETCH 1 BODY.PEEK[]").lines("FETCH")
    return line[line.index(b"\r\nFrom: ") :]


@pytest.mark.parametrize("sieve", [False, True], ids=["plain", "sieve"])
@pytest.mark.parametrize("make", [mail, chat])
def test_FIL_7_FIL_8_an_mbox_got_no_header_of_a_mail_to_several(
    make_server, subscriber, make, sieve
):
    """What is copied to others is read from a stream that forgets what has been looked at."""
    server = make_server(mail_format="mbox", sieve=sieve)
    users = [server.new_user(), server.coi_user("active"), server.new_user()]
    last = subscriber(server, users[2]).subscribe()
    folders = ["INBOX", server.chats if make is chat else "INBOX", "INBOX"]
    server.lmtp(*users, mail=make("to all"))
    for user, folder in zip(users, folders):
        assert {subject: where for subject, (where, _) in server.where(user).items()} == {
            "to all": folder
        }
    texts = {text_of(server, user, folder) for user, folder in zip(users, folders)}
    assert len(texts) == 1
    (push,) = last.pushes(1)
    assert push.payload["subject"] == "to all"
    assert push.payload["content"].strip() == "Hello."


def test_SUB_3_one_that_is_a_little_too_large_took_the_push_from_all(make_server, subscriber):
    """As it may come by dsync or another tool: we store none that is so large."""
    server = make_server()
    one = subscriber(server, server.new_user()).subscribe()
    path = server.home(one.user) / "dovecot-attributes"
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(f"/{one.id}"))
    stored = lines[at + 1]
    stored = stored.replace('"client":"', '"client":"' + "x" * (16384 - len(stored)))
    lines[at:at] = [lines[at].removesuffix(one.id) + "A-large-one", stored]
    server.write(one.user, "dovecot-attributes", "\n".join(lines) + "\n")
    server.deliver("lmtp", one.user, mail("mail"))
    assert one.until("mail") == ["mail"]


def test_MSG_1_more_subscriptions_than_are_handed_over_at_once(make_server, subscriber, service):
    """Where the admin allows so many: 100 in one request, and then the others."""
    server = make_server(push=(("webpush_subscription_limit", 1000),))
    one = subscriber(server, server.new_user()).subscribe()
    path = server.home(one.user) / "dovecot-attributes"
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(f"/{one.id}"))
    endpoints = [f"{one.endpoint}-{number}" for number in range(120)]
    for number, endpoint in enumerate(endpoints):
        key = lines[at].removesuffix(one.id) + f"another-{number:04}"
        lines += [key, lines[at + 1].replace(one.endpoint, endpoint)]
    server.write(one.user, "dovecot-attributes", "\n".join(lines) + "\n")
    server.deliver("lmtp", one.user, mail("mail"))
    assert one.until("mail") == ["mail"]
    for endpoint in endpoints:
        service.wait_for(endpoint.removeprefix(service.origin))


EDIT = """\
require ["editheader", "fileinto", "mailbox"];
deleteheader "Subject";
deleteheader "Message-ID";
addheader "Subject" "as it is now";
addheader "Message-ID" "<new@example.org>";
if header "X-Folder" "Mine" { fileinto :create "Mine"; }
"""


def test_MSG_4_what_a_script_has_edited_where_the_user_may_not_read(make_server, subscriber):
    server = make_server(sieve=True, before=ACL, after=EDITHEADER)
    user = server.coi_user("active")
    device = subscriber(server, user).subscribe()
    server.write(user, ".dovecot.sieve", EDIT)
    with server.imap(user) as client:
        client.must("CREATE Mine")
    server.write(user, "maildir/.Mine/dovecot-acl", "owner lip\n")
    server.lmtp(user, mail=mail("as it came", "X-Folder: Mine"))
    (push,) = device.pushes(1)
    assert (push.payload["subject"], push.payload["folder"]) == ("as it is now", "Mine")


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox", "mbox"])
def test_MSG_4_what_a_script_had_edited_was_pushed_as_it_came(
    make_server, subscriber, mail_format
):
    server = make_server(sieve=True, after=EDITHEADER, mail_format=mail_format)
    user = server.coi_user("active")
    device = subscriber(server, user).subscribe()
    server.write(user, ".dovecot.sieve", EDIT)
    cases = [(chat, server.chats), (mail, "INBOX"), (chat, "Mine"), (mail, "Mine")]
    for make, folder in cases:
        server.lmtp(user, mail=make("as it came", f"X-Folder: {folder}"))
    pushes = device.pushes(len(cases))
    told = [[push.payload[name] for name in ("subject", "msg-id")] for push in pushes]
    assert told == [["as it is now", "<new@example.org>"]] * len(cases)
    assert sorted(push.payload["folder"] for push in pushes) == sorted(
        folder for _, folder in cases
    )
    assert all(push.payload["content"].strip() == "Hello." for push in pushes)

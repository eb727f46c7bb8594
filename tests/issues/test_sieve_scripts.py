# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Scripts of users: which $Chat they see and set, and how what they have edited is stored and
pushed, all of it also where a mail goes to several recipients."""

import pytest
from harness.config import by_dialect, locked_config, settings
from harness.imap import Literal
from harness.mails import chat, mail
from harness.push import eventually
from test_chats_unusable import ACL

pytestmark = pytest.mark.private

EDITHEADER = by_dialect(
    v2_3=settings(sieve_extensions="+editheader"),
    v2_4="sieve_extensions {\n  editheader = yes\n}\n",
)
EDIT = """\
require ["editheader", "fileinto", "mailbox"];
deleteheader "Subject";
deleteheader "Message-ID";
addheader "Subject" "as it is now";
addheader "Message-ID" "<new@example.org>";
if header "X-Folder" "Mine" { fileinto :create "Mine"; }
"""
FORMATS = ("maildir", "sdbox", "mdbox")


def with_script(server, script, message_filter=None):
    user = server.coi_user(message_filter) if message_filter else server.new_user()
    server.write(user, ".dovecot.sieve", f'require ["imap4flags", "fileinto"];\n{script}\n')
    return user


def test_Chat_set_by_the_users_own_script_was_taken_away(make_server):
    server = make_server(sieve=True)
    user = server.new_user()
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag ["$Chat", "Mine"];')
    server.deliver("lmtp", user, mail("mail"))
    assert server.where(user)["mail"] == ("INBOX", {"$Chat", "Mine"})


def test_a_script_ran_twice_where_Chats_was_unusable(make_server, log):
    server = make_server(sieve=True)
    user = server.coi_user("active")
    script = 'require ["copy", "fileinto", "mailbox"]; fileinto :copy :create "Other"; keep;'
    server.write(user, ".dovecot.sieve", script)
    log.expect("COI|coi: |unsuccessful implicit keep")
    for name in ("new", "cur", "tmp"):
        (server.home(user) / "maildir/.COI.Chats" / name).chmod(0o500)
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        assert client.subjects("Other") == ["chat"]
        assert client.subjects("INBOX") == ["chat"]


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


@pytest.mark.parametrize("mail_format", FORMATS)
def test_MSG_4_what_a_script_had_edited_was_pushed_without_its_text_where_it_is_locked(
    fresh_server, subscriber, log, mail_format
):
    """The header was that of Dovecot's cache, and the log had an error for each mail."""
    before, after, given = locked_config()
    server = fresh_server(
        sieve=True, mail_format=mail_format, before=before, after=after + EDITHEADER
    )
    user = server.new_user()
    command = ("mailbox", "cryptokey", "generate", "-u", user, "-U", "-f")
    assert server.run("doveadm", "-o", given, *command).returncode == 0
    device = subscriber(server, server.coi_user("active", name=user)).subscribe()
    server.write(user, ".dovecot.sieve", EDIT)
    # Who makes a folder's key has it.
    server.deliver("lda", user, chat("first"))
    server.deliver("lda", user, chat("as it came"))
    pushes = {push.payload["subject"]: push.payload for push in device.pushes(2)}
    assert pushes["as it came"]["content"].strip() == "Hello."
    eventually(lambda: log.count(server, "coi: .* so what came is pushed: ") == 1, "it is logged")
    with server.imap(user) as client:
        client.must(f'EXAMINE "{server.chats}"')
        text = b"".join(client.must("FETCH 1:* BODY.PEEK[]").untagged)
        assert text.count(b"Subject: as it is now") == text.count(b"Hello.") == 2


def test_the_first_keyword_of_INBOX_was_lost_beside_Chat_of_a_script(make_server):
    server = make_server(sieve=True)
    user = server.coi_user("none")
    with server.imap(user) as client:
        client.must("APPEND INBOX (First) ", Literal(mail("other")))
    server.write(user, ".dovecot.sieve", 'require "imap4flags"; addflag ["$Chat", "First"];')
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user)["chat"] == ("INBOX", {"$Chat", "First"})

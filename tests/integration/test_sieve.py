# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-5: COI's rule and the user's Sieve script."""

import re
import subprocess

import pytest
from harness.config import by_dialect
from harness.mails import chat, mail

pytestmark = pytest.mark.private
WAYS = ("lmtp", "lda")
CHATS = "COI/Chats"

# script, folder and flags of a chat mail in mode active; None: it is nowhere
SCRIPTS = {
    "no script": (None, CHATS, {"$Chat"}),
    "empty": ("", CHATS, {"$Chat"}),
    "keep": ("keep;", CHATS, {"$Chat"}),
    "stop": ("stop;", CHATS, {"$Chat"}),
    "addflag only": (
        'require "imap4flags"; addflag ["\\\\Flagged", "Mine"];',
        CHATS,
        {"$Chat", "\\Flagged", "Mine"},
    ),
    "addflag and keep": (
        'require "imap4flags"; addflag "\\\\Flagged"; keep;',
        CHATS,
        {"$Chat", "\\Flagged"},
    ),
    "keep with flags": (
        'require "imap4flags"; keep :flags "\\\\Answered";',
        CHATS,
        {"$Chat", "\\Answered"},
    ),
    "broken": ("this is not sieve", CHATS, {"$Chat"}),
    "fileinto": ('require ["fileinto","mailbox"]; fileinto :create "Mine";', "Mine", {"$Chat"}),
    "fileinto INBOX": ('require "fileinto"; fileinto "INBOX";', "INBOX", {"$Chat"}),
    "discard": ("discard;", None, None),
    "another test": ('if header :contains "Subject" "nothing" { discard; }', CHATS, {"$Chat"}),
}


@pytest.fixture
def server(make_server):
    return make_server(sieve=True)


def set_script(server, user, script):
    if script is not None:
        server.write(user, ".dovecot.sieve", script + "\n")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_FIL_5_active_with_a_script(server, log, way, name):
    script, folder, flags = SCRIPTS[name]
    user = server.coi_user("active")
    set_script(server, user, script)
    if name == "broken":
        log.expect("sieve")
    server.deliver(way, user, chat("chat"))
    assert server.where(user) == ({"chat": (folder, flags)} if folder else {})


@pytest.mark.parametrize("name", SCRIPTS)
def test_FIL_5_none_with_a_script_goes_where_stock_would_put_it(server, log, name):
    script, folder, flags = SCRIPTS[name]
    user = server.coi_user("none")
    set_script(server, user, script)
    if name == "broken":
        log.expect("sieve")
    server.deliver("lmtp", user, chat("chat"))
    if folder == CHATS:
        folder = "INBOX"
    assert server.where(user) == ({"chat": (folder, flags)} if folder else {})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["keep", "addflag only", "fileinto"])
def test_FIL_5_ordinary_mail_is_the_scripts_alone(server, way, name):
    script, folder, flags = SCRIPTS[name]
    user = server.coi_user("active")
    set_script(server, user, script)
    server.deliver(way, user, mail("ordinary"))
    expected = ("INBOX" if folder == CHATS else folder, flags - {"$Chat"})
    assert server.where(user) == {"ordinary": expected}


@pytest.mark.parametrize("way", WAYS)
def test_FIL_5_a_runtime_failure_keeps_the_mail_in_Chats(server, log, way):
    """fileinto into a folder that cannot be is the script's failure, and not the mail's."""
    user = server.coi_user("active")
    set_script(server, user, 'require "fileinto"; fileinto "no-such-folder";')
    log.expect("sieve")
    server.deliver(way, user, chat("chat"))
    assert server.where(user) == {"chat": (CHATS, {"$Chat"})}


def test_FIL_5_fileinto_and_keep_store_it_twice(server):
    user = server.coi_user("active")
    set_script(server, user, 'require ["fileinto","mailbox"]; fileinto :create "Mine"; keep;')
    server.deliver("lmtp", user, chat("chat"))
    with server.imap(user) as client:
        assert client.subjects("Mine") == client.subjects(CHATS) == ["chat"]
        assert client.subjects("INBOX") == []
        assert client.mails("Mine")[0].is_chat


@pytest.mark.uninstrumented
def test_FIL_5_reject_does_what_it_does_without_COI(make_server, work_dir):
    # The rejection is a mail to the sender, which is not to leave this machine.
    sendmail = work_dir / "sendmail"
    sendmail.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    sendmail.chmod(0o755)
    replies = []
    for with_coi in (False, True):
        server = make_server(coi=with_coi, sieve=True, after=f"sendmail_path = {sendmail}\n")
        user = server.coi_user("active", "rejecting") if with_coi else server.new_user("rejecting")
        set_script(server, user, 'require "reject"; reject "not today";')
        replies += server.lmtp(user, mail=chat("chat"))
        assert server.where(user) == {}
    stock, ours = (reply.split()[:3] for reply in replies)
    assert ours == stock


@pytest.mark.uninstrumented
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("copy", [False, True], ids=["", "copy"])
def test_FIL_5_redirect_does_what_it_says(make_server, work_dir, way, copy):
    # The mail is not to leave this machine.
    sent, sendmail = work_dir / "redirected", work_dir / "sendmail-to-a-file"
    sent.touch()
    sent.chmod(0o666)
    sendmail.write_text(f'#!/bin/sh\necho "TO $*" >>{sent}\nexec cat >>{sent}\n')
    sendmail.chmod(0o755)
    server = make_server(sieve=True, after=f"sendmail_path = {sendmail}\n")
    user = server.coi_user("active")
    address = f"{user}@elsewhere.example"
    set_script(server, user, f'require "copy"; redirect {":copy" if copy else ""} "{address}";')
    server.deliver(way, user, chat(f"chat of {user}"))
    text = sent.read_text()
    assert re.search(rf"^TO .*{address}", text, re.M)
    assert f"Subject: chat of {user}" in text
    assert server.where(user) == ({f"chat of {user}": (CHATS, {"$Chat"})} if copy else {})


@pytest.mark.uninstrumented
def test_FIL_5_a_global_script_may_act_first(make_server, work_dir):
    script = work_dir / "before.sieve"
    script.write_text('if header :contains "Subject" "spam" { discard; stop; }\n')
    subprocess.run(["sievec", script], check=True)
    for path in (script, script.with_suffix(".svbin")):
        path.chmod(0o644)
    server = make_server(
        sieve=True,
        after=by_dialect(
            v2_3=f"plugin {{\n  sieve_before = {script}\n}}\n",
            v2_4="sieve_script first {\n  type = before\n  driver = file\n"
            f"  path = {script}\n}}\n",
        ),
    )
    user = server.coi_user("active")
    server.deliver("lmtp", user, chat("spam"))
    server.deliver("lmtp", user, chat("chat"))
    assert server.where(user) == {"chat": (CHATS, {"$Chat"})}

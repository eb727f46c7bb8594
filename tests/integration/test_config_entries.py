# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""CFG-1, CFG-2, CFG-3, CFG-4, CFG-5, CFG-6, CFG-7: values of the configuration entries.

The refused ones above all.
"""

import pytest
from harness.config import settings
from harness.imap import Literal
from harness.mails import chat
from harness.server import ROOT

ENABLED = f"{ROOT}/enabled"
FILTER = f"{ROOT}/message-filter"
MAILBOX_ROOT = f"{ROOT}/mailbox-root"
MEBIBYTE = b"yes" + b"x" * (1024 * 1024)

# What is neither a value of `enabled` nor of `message-filter`.
REFUSED = {
    "true": "true",
    "capital": "Yes",
    "upper": "YES",
    "no": "no",
    "empty": "",
    "blank": " yes",
    "filter-capital": "Active",
    "one-MiB": MEBIBYTE,
    "one-MiB-binary": Literal(MEBIBYTE, binary=True),
    "NUL-behind": Literal(b"yes\0", binary=True),
    "NUL-only": Literal(b"\0", binary=True),
    "NUL-inside": Literal(b"act\0ive", binary=True),
    "CR-LF": "yes\r\nno",
    "CR-LF-behind": "yes\r\n",
    "LF-behind-filter": "active\n",
    "tagged-line": "yes\r\nt1 OK done\r\n",
    "invalid-UTF-8": b"yes\xff\xfe",
    "overlong-UTF-8": b"\xc0\xf9es",
}


def state(server, user):
    """Everything about a user that SETMETADATA might change."""
    with server.imap(user) as client:
        return (
            client.getmetadata(ENABLED, FILTER, MAILBOX_ROOT),
            client.getmetadata(ROOT, depth="infinity"),
            client.folders(),
            client.folders("LSUB"),
        )


@pytest.fixture(params=["never enabled", "enabled"])
def user(request, server):
    return server.new_user() if request.param == "never enabled" else server.coi_user("active")


def assert_refused(server, user, entries, statuses=("NO",)):
    before = state(server, user)
    with server.imap(user) as client:
        response = client.setmetadata(entries)
        assert response.status in statuses, response
        assert "\r" not in response.text and "\n" not in response.text
        assert client.must("NOOP"), "the session must live on"
        assert client.getmetadata(ENABLED) == {ENABLED: before[0][ENABLED]}
    assert state(server, user) == before


def test_CFG_1_mailbox_root_is_there_for_every_user(server, user):
    with server.imap(user) as client:
        assert client.getmetadata(MAILBOX_ROOT) == {MAILBOX_ROOT: server.folder("COI").encode()}


@pytest.mark.private
@pytest.mark.parametrize(
    "prefix, separator, folder",
    [("", "/", "COI"), ("INBOX.", ".", "INBOX.COI"), ("Mail/", "/", "Mail/COI")],
)
def test_CFG_1_mailbox_root_has_the_prefix_of_the_inbox_namespace(
    make_server, prefix, separator, folder
):
    server = make_server(prefix=prefix, separator=separator)
    with server.imap(server.coi_user("active")) as client:
        assert client.getmetadata(MAILBOX_ROOT) == {MAILBOX_ROOT: folder.encode()}
        assert {folder + separator + "Chats", folder + separator + "Contacts"} <= set(
            client.folders()
        )


@pytest.mark.private
def test_CFG_1_mailbox_root_is_what_the_admin_sets(make_server):
    server = make_server(after=settings(coi_mailbox_root="Chatting"))
    with server.imap(server.coi_user("active")) as client:
        assert client.getmetadata(MAILBOX_ROOT) == {MAILBOX_ROOT: b"Chatting"}
        assert {"Chatting/Chats", "Chatting/Contacts"} <= set(client.folders())


@pytest.mark.parametrize(
    "value",
    ["COI", "Elsewhere", "", None, MEBIBYTE],
    ids=["same", "another", "empty", "NIL", "one-MiB"],
)
def test_CFG_2_mailbox_root_is_read_only(server, user, value):
    assert_refused(server, user, {MAILBOX_ROOT: value})


def test_CFG_3_enabled_is_absent_until_set_and_NIL_removes_it(server):
    with server.imap(server.new_user()) as client:
        assert client.getmetadata(ENABLED) == {ENABLED: None}
        assert client.setmetadata({ENABLED: "yes"}).ok
        assert client.getmetadata(ENABLED) == {ENABLED: b"yes"}
        assert client.setmetadata({ENABLED: "yes"}).ok, "a second time changes nothing"
        assert client.setmetadata({ENABLED: None}).ok
        assert client.getmetadata(ENABLED) == {ENABLED: None}
        assert ENABLED not in client.getmetadata(ROOT, depth="1")
        assert client.setmetadata({ENABLED: None}).ok, "there is nothing to remove"


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_CFG_4_other_values_of_enabled_are_refused(server, user, value):
    assert_refused(server, user, {ENABLED: value})


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_CFG_5_other_values_of_message_filter_are_refused(server, user, value):
    assert_refused(server, user, {FILTER: value})


@pytest.mark.parametrize("name", [ENABLED, FILTER])
def test_CFG_4_CFG_5_NUL_in_a_plain_literal(server, user, name):
    """It is not IMAP at all, so BAD is as good as NO."""
    assert_refused(server, user, {name: Literal(b"yes\0")}, statuses=("NO", "BAD"))


@pytest.mark.parametrize("value", ["none", "active", "seen"])
def test_CFG_5_values_of_message_filter(server, user, value):
    with server.imap(user) as client:
        assert client.setmetadata({FILTER: value}).ok
        assert client.getmetadata(FILTER) == {FILTER: value.encode()}


def test_CFG_5_message_filter_NIL_returns_to_the_default(server):
    user = server.coi_user("active")
    with server.imap(user) as client:
        assert client.setmetadata({FILTER: None}).ok
        assert client.getmetadata(FILTER) == {FILTER: None}
        assert client.setmetadata({FILTER: None}).ok, "there is nothing to remove"
        assert client.must("NOOP")


@pytest.mark.private
@pytest.mark.parametrize(
    "was, now", [("yes", "Yes"), ("yes", "true"), ("active", "Active"), ("active", "all")]
)
def test_CFG_6_a_stored_value_that_is_not_valid(make_server, was, now):
    """Another tool wrote it: COI counts as disabled, or the filter as none."""
    server = make_server()
    user = server.coi_user("active")
    path = server.home(user) / "dovecot-attributes"
    lines = path.read_text().split("\n")
    assert lines.count(was) == 1
    server.write(user, path.name, "\n".join(now if line == was else line for line in lines))
    server.deliver("lmtp", user, chat("hello"))
    folder, flags = server.where(user)["hello"]
    assert folder == "INBOX"
    assert ("$Chat" in flags) == (was == "active")


def test_CFG_7_DEPTH_1_lists_the_entries_that_exist(server):
    with server.imap(server.new_user()) as client:
        root = {MAILBOX_ROOT: server.folder("COI").encode()}
        assert client.getmetadata(ROOT, depth="1") == root
        client.setmetadata({ENABLED: "yes"})
        assert client.getmetadata(ROOT, depth="1") == {**root, ENABLED: b"yes"}
        client.setmetadata({FILTER: "seen"})
        assert client.getmetadata(ROOT, depth="1") == {**root, ENABLED: b"yes", FILTER: b"seen"}


@pytest.mark.parametrize("name", ["unknown", "enabled/child", "mailbox-root/child", "enable"])
def test_CFG_7_unknown_children_are_refused_and_not_listed(server, user, name):
    assert_refused(server, user, {f"{ROOT}/{name}": "yes"})
    with server.imap(user) as client:
        assert client.getmetadata(f"{ROOT}/{name}").get(f"{ROOT}/{name}") is None


REFUSED_IN_COMPANY = [
    {ENABLED: "yes", FILTER: "sometimes"},
    {FILTER: "sometimes", ENABLED: "yes"},
    {ENABLED: "yes", FILTER: "seen", MAILBOX_ROOT: "Elsewhere"},
    {MAILBOX_ROOT: "Elsewhere", ENABLED: "yes"},
    {FILTER: "seen", ENABLED: "Yes"},
    {ENABLED: None, FILTER: "sometimes"},
    {ENABLED: "yes", FILTER: "seen", f"{ROOT}/unknown": "x"},
]


@pytest.mark.parametrize("entries", REFUSED_IN_COMPANY, ids=lambda entries: str(len(entries)))
def test_ENA_11_one_refused_entry_refuses_its_company(server, user, entries):
    assert_refused(server, user, entries)


# What Dovecot refuses, with its answer: an entry of nobody's, and names that can't be.
NOT_OURS = [("/private/comment", "NO"), (f"{ROOT}/*", "BAD"), ("enabled", "BAD")]


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("entry, status", NOT_OURS)
def test_ENA_11_an_entry_that_is_not_ours_refuses_ours(server, user, entry, status, first):
    theirs, ours = {entry: "x"}, {ENABLED: "yes", FILTER: "seen"}
    assert_refused(server, user, theirs | ours if first else ours | theirs, (status,))


@pytest.mark.parametrize("refused", [MAILBOX_ROOT, FILTER, f"{ROOT}/unknown"])
def test_ENA_11_literals_behind_a_refused_one_are_asked_for(server, user, refused):
    """A client that has more to send waits for that, and not for an answer."""
    before = state(server, user)
    with server.imap(user) as client:
        tag = client.send(
            f'SETMETADATA "" ({refused} ', Literal("x"), f" {ENABLED} ", Literal("yes"), ")"
        )
        assert client.early == [], "nothing comes before all of it is sent"
        assert client.finish(tag).status == "NO"
    assert state(server, user) == before

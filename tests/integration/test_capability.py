# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""CAP-1, CAP-2, CAP-3, CAP-4: what is announced, to whom, and when."""

import pytest
from harness.config import metadata_dict
from harness.imap import Imap
from harness.server import ROOT

METADATA_WORDS = {"METADATA", "METADATA-SERVER"}
BOTH_ENTRIES = {f"{ROOT}/enabled", f"{ROOT}/mailbox-root"}


def test_CAP_1_COI_is_listed_after_login(server):
    with server.imap(server.new_user()) as client:
        assert "COI" in client.capabilities()


def test_CAP_1_COI_is_in_the_answer_to_LOGIN(server):
    user = server.new_user()
    with Imap(server.imap_address) as client:
        assert "COI" in client.login(user, server.password).text.partition("]")[0].split()


def test_CAP_2_nothing_is_listed_before_login(server):
    with Imap(server.imap_address) as client:
        assert "COI" not in client.capabilities()
        assert b"COI" not in client.greeting.split()


@pytest.mark.private
@pytest.mark.parametrize("metadata", ["no", "yes"])
def test_CAP_1_metadata_is_announced_as_far_as_it_goes(make_server, metadata):
    server = make_server(after=f"imap_metadata = {metadata}\n")
    with server.imap(server.new_user()) as client:
        assert "COI" in client.capabilities()
        assert METADATA_WORDS & set(client.capabilities())


@pytest.mark.private
def test_CAP_1_metadata_of_the_admin_is_announced_once(make_server):
    server = make_server(before=metadata_dict("attributes") + "imap_metadata = yes\n")
    with server.imap(server.new_user()) as client:
        words = [word for word in client.capabilities() if word in METADATA_WORDS]
        assert words == ["METADATA"]
        assert client.capabilities().count("COI") == 1


@pytest.mark.private
def test_CAP_3_a_user_without_the_plugin_sees_nothing(make_server):
    server = make_server(userdb_fields=("mail_plugins=notify",))
    with server.imap(server.new_user()) as client:
        assert "COI" not in client.capabilities()
        assert not METADATA_WORDS & set(client.capabilities())


@pytest.mark.private
def test_CAP_3_an_explicit_capability_list_of_the_admin_stands(make_server):
    server = make_server(after="imap_capability = IMAP4rev1 IDLE\n")
    with server.imap(server.new_user()) as client:
        assert client.capabilities() == ["IMAP4rev1", "IDLE"]


@pytest.mark.parametrize("depth", ["1", "infinity"])
def test_CAP_4_DEPTH(server, depth):
    with server.imap(server.coi_user()) as client:
        assert BOTH_ENTRIES <= client.getmetadata(ROOT, depth=depth).keys()


def test_CAP_4_DEPTH_from_further_above(server):
    with server.imap(server.coi_user()) as client:
        above = ROOT.rsplit("/", 2)[0]
        assert BOTH_ENTRIES <= client.getmetadata(above, depth="infinity").keys()
        assert not BOTH_ENTRIES & client.getmetadata(above, depth="1").keys()


@pytest.mark.parametrize("depth", ["1", "infinity"])
def test_CAP_4_DEPTH_from_an_entry_itself(server, depth):
    with server.imap(server.coi_user()) as client:
        name = f"{ROOT}/enabled"
        assert client.getmetadata(name, depth=depth) == {name: b"yes"}
        # The beginning of a name is none.
        assert client.getmetadata(ROOT[:-2], f"{ROOT}/mailbox", depth=depth) == {}


def test_CAP_4_several_entries_in_one_command(server):
    with server.imap(server.coi_user("active")) as client:
        names = [f"{ROOT}/{name}" for name in ("enabled", "message-filter", "mailbox-root")]
        values = client.getmetadata(*names)
        root = server.folder("COI").encode()
        assert [values[name] for name in names] == [b"yes", b"active", root]


@pytest.mark.private
@pytest.mark.parametrize("metadata", ["no", "yes"])
@pytest.mark.parametrize("depth", ["1", "infinity"])
def test_CAP_4_DEPTH_with_and_without_imap_metadata(make_server, metadata, depth):
    server = make_server(after=f"imap_metadata = {metadata}\n")
    with server.imap(server.coi_user()) as client:
        assert BOTH_ENTRIES <= client.getmetadata(ROOT, depth=depth).keys()


def test_CAP_4_entry_names_are_case_insensitive(server):
    with server.imap(server.new_user()) as client:
        assert client.setmetadata({f"{ROOT}/enabled".upper(): "yes"}).ok
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}


def test_CAP_4_doveadm_reads_and_writes_the_entries(server):
    user = server.new_user()
    server.doveadm("mailbox", "metadata", "set", "-u", user, "-s", "", f"{ROOT}/enabled", "yes")
    out = server.doveadm("mailbox", "metadata", "get", "-u", user, "-s", "", f"{ROOT}/enabled")
    assert "yes" in out.split()
    with server.imap(user) as client:
        assert client.getmetadata(f"{ROOT}/enabled") == {f"{ROOT}/enabled": b"yes"}
        assert server.chats in client.folders()

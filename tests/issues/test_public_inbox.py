# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""INBOX of a namespace that isn't the user's own."""

import pytest
from harness.config import by_dialect, metadata_dict
from harness.server import ROOT

pytestmark = pytest.mark.private

TREE = "/private/vendor"


def public(mail_format):
    head = "  type = public\n  prefix = Public/\n  separator = /\n"
    return by_dialect(
        v2_3=f"namespace {{\n{head}  location = {mail_format}:~/public\n}}\n",
        v2_4=f"namespace public {{\n{head}  mail_path = ~/public\n}}\n",
    )


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
@pytest.mark.parametrize("depth", ["0", "1", "infinity"])
def test_CAP_4_who_lists_the_entries_of_one_that_is_not_there(make_server, mail_format, depth):
    """It was taken for the user's own, and that it isn't there for an error of the server."""
    before = public(mail_format) + metadata_dict("metadata")
    before += "protocol imap {\n  imap_metadata = yes\n}\n"
    answers = []
    for coi in (True, False):
        server = make_server(mail_format=mail_format, coi=coi, before=before)
        user = server.new_user()
        (server.home(user) / "public").mkdir(parents=True)
        for path in (server.home(user), server.home(user) / "public"):
            path.chmod(0o777)
        with server.imap(user) as client:
            responses = [
                client.command(f"GETMETADATA (DEPTH {depth}) {name} {entry}")
                for name in ("Public", "Public/INBOX")
                for entry in (TREE, f"{TREE}/vendor.dovecot", ROOT)
            ]
        answers.append([(response.status, response.reason) for response in responses])
    assert answers[0] == answers[1]

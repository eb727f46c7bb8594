# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""FIL-7: what tests/stress/alike has found to be unlike stock Dovecot."""

import pytest

pytestmark = pytest.mark.private


@pytest.mark.parametrize(
    "entry",
    [
        ("-s", "", "/shared/vendor/deltachat/maxsmtprecipients"),
        ("INBOX", "/private/devicetoken"),
        ("INBOX", "/private/comment"),
    ],
    ids=["recipients", "token", "comment"],
)
def test_CLI_4_FIL_7_doveadm_could_set_an_entry_that_is_off(make_server, entry):
    """To ask whether Delta Chat's are on gave Dovecot our place for entries, to put them in."""
    *where, name = entry
    answers = []
    for coi in (False, True):
        server = make_server(coi=coi)
        user = server.new_user()
        command = ("doveadm", "mailbox", "metadata")
        for what, value in (("set", ["value"]), ("get", []), ("unset", [])):
            done = server.run(*command, what, "-u", user, *where, name, *value)
            answers.append((done.returncode, done.stderr.replace(user.encode(), b"USER")))
        assert not (server.home(user) / "dovecot-attributes").exists()
    assert answers[3:] == answers[:3]

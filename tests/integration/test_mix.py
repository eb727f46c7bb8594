# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A short run of tests/stress/mix: always the same clients, and as much as they do."""

import pytest
from coimix.run import EXPECTED, Run, config, for_rounds

pytestmark = pytest.mark.private


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_FIL_3_FIL_8_many_clients_neither_lose_nor_double_a_mail(make_server, log, mail_format):
    log.expect(EXPECTED)
    run = Run(make_server(**vars(config(mail_format))), users=3, sessions=8, seed=1)
    run.rounds(20, for_rounds(8))
    assert run.model.stats["letters checked for number"] > 0
    assert run.model.stats["mails looked at"] > 0

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A short run of tests/stress/life: always the same users, but for who comes first."""

import pytest
from coilife.run import EXPECTED, Run, settings

pytestmark = pytest.mark.private


@pytest.mark.parametrize("mail_format, seed", [("maildir", 1), ("mdbox", 2)])
def test_SUB_5_SUB_7_SUB_8_SUB_11_MSG_9_MSG_10_a_random_life(
    fresh_server, make_service, log, mail_format, seed
):
    log.expect(EXPECTED)
    Run(fresh_server(**settings(mail_format)), make_service, seed).course(32)

# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Short courses of tests/stress/course: always the same ones, but for who comes first."""

import pytest
from coicourse.course import Course
from coicourse.kinds import BIN, EXPECTED, KINDS

pytestmark = pytest.mark.private


@pytest.mark.parametrize("kind, seed", [("maildir", 1), ("sdbox", 2), ("mdbox", 3), ("fs", 4)])
def test_BLK_5_ENA_10_ENA_11_a_random_course(make_server, log, kind, seed):
    log.expect(EXPECTED)
    ours, stock = (make_server(coi=coi, after=BIN, **KINDS[kind]) for coi in (True, False))
    Course(ours, stock, seed).run(60)

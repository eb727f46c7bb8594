# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""A short run of tests/stress/alike: always the same scripts."""

import pytest
from coialike.run import Alike, told

pytestmark = pytest.mark.private


@pytest.mark.parametrize(
    "kind, mode, seed",
    [
        ("maildir-dots", "off", 4),
        ("mdbox", "off", 5),
        ("sdbox-full", "active", 6),
        ("sdbox-sieve", "off", 7),
    ],
)
def test_FIL_7_random_scripts_get_the_same_answers_files_and_logs(
    make_server, log, kind, mode, seed
):
    # The log is compared, too, and what the scripts do is not always right.
    log.expect("")
    alike = Alike(lambda config: make_server(**vars(config)), kind, mode)
    try:
        found, _ = alike.compare(seed, 50)
    finally:
        alike.close()
    assert not found, told(found)

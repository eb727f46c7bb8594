# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""What the commands of this folder begin with."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def parser(path, doc):
    """For the command there: its text has a line, how it is used, and the rest."""
    head, _, tail = doc.partition("\n\nusage")
    made = argparse.ArgumentParser(
        prog=f"tests/stress/{Path(path).name}", description=head, epilog=tail.partition("\n\n")[2]
    )
    made.add_argument("build", metavar="BUILD")
    return made


def enter_suite(path, build):
    """Goes on where tests are run (see tests/lib/suite), in another process, and not here."""
    if "COI_TEST_STAGE" not in os.environ:
        command = [TESTS / "lib/suite", "--exec", Path(path).resolve(), build]
        sys.exit(subprocess.run([*command, *sys.argv[1:]]).returncode)
    sys.path[:0] = [str(TESTS), str(TESTS / "integration")]

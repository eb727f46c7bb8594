# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""Runs the benchmarks. tests/bench/run is what calls it, and explains the options."""

import argparse
import os
import random
import sys
import time
from pathlib import Path

from . import relay, report
from .cases import CASES, CHOICES, STOCK_DELIVERY, USERS, Delivery, Slices
from .counts import count
from .homes import Homes, Loader
from .servers import FORMATS, LMTP_PROCESSES, STOCK, Lab
from .sink import Sinks
from .summary import Samples, summarize

ROUNDS, QUICK_ROUNDS = 30, 6


def parse(args):
    parser = argparse.ArgumentParser(prog="tests/bench/run", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--out")
    parser.add_argument("--case", action="append", choices=CHOICES)
    parser.add_argument("--mails", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--callgrind", action="store_true")
    parser.add_argument("--minutes", type=float, default=24 * 60)
    parser.add_argument("--queued", type=int, action="append")
    parser.add_argument("--web-push")
    for name in ("--stage", "--work", "--load", "--sink", "--build"):
        parser.add_argument(name, required=True)
    options = parser.parse_args(args)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def warm_up(slices, cases):
    """Every LMTP process has delivered before the first round, and all homes are made."""
    for mail_format in FORMATS:
        work = [(kind, STOCK_DELIVERY) for kind in STOCK]
        for kind, case in work + [(case.server, case) for case in cases]:
            delivery = Delivery(slices, mail_format, kind, case, LMTP_PROCESSES)
            for _ in range(2 * LMTP_PROCESSES * USERS // slices.mails):
                delivery.do()
            delivery.finish()


def measure(lab, options, cases):
    loader = Loader(options)
    sinks = Sinks(options)
    try:
        return rounds(Slices(lab, Homes(lab, loader), loader, sinks, options), options, cases)
    finally:
        sinks.close()


def rounds(slices, options, cases):
    samples = Samples()
    warm_up(slices, [case for case in cases if case.kind == "deliver"])
    groups = slices.groups(cases)
    deadline = time.monotonic() + 60 * options.minutes
    for number in range(options.rounds):
        start = time.monotonic()
        if number > 0 and start > deadline:
            break
        random.shuffle(groups)
        for group in groups:
            for sample in group():
                samples.add(number, *sample)
        if sys.stderr.isatty() or number in (0, options.rounds - 1):
            seconds = time.monotonic() - start
            print(f"round {number + 1} of {options.rounds}: {seconds:.0f} s", file=sys.stderr)
    return samples


def main(args):
    options = parse(args)
    random.seed(options.seed)
    cases = [
        case for case in CASES if not options.case or (case.group or case.name) in options.case
    ]
    # It had better fail now than when all is measured.
    Path(options.out).mkdir(parents=True, exist_ok=True)
    if options.callgrind:
        return count(options, cases)

    # Now, as somebody may go on working on the source meanwhile.
    facts = report.about(options)
    alone = relay.measure(options) if any(case.kind == "relay" for case in cases) else None
    cases = [case for case in cases if case.kind != "relay"]
    samples, problems = Samples(), []
    if cases:
        lab = Lab(options)
        try:
            samples = measure(lab, options, cases)
        finally:
            problems = lab.problems()
            lab.close()
            for line in problems[:20]:
                print(line, file=sys.stderr)
    facts["rounds"] = len({row["round"] for row in samples.rows})
    rows = summarize(samples, cases)
    text, missing = report.write(options.out, rows, facts, samples, alone)
    print(text)
    print(f"The files are in {options.out}")
    if missing:
        print(missing)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

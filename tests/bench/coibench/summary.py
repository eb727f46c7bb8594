# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""From samples to a summary: medians, paired ratios and their spread."""

import random
import statistics
from collections import defaultdict

from .servers import OURS, STOCK

RESAMPLES = 2000


def quantile(values, fraction):
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median_interval(values):
    """The median, and its 95 % confidence interval by bootstrap."""
    source = random.Random(1)
    medians = [
        statistics.median(source.choices(values, k=len(values))) for _ in range(RESAMPLES)
    ]
    return {
        "median": statistics.median(values),
        "low": quantile(medians, 0.025),
        "high": quantile(medians, 0.975),
    }


def noise_of(values):
    """The same, and the range of 90 % of the rounds."""
    return {
        **median_interval(values),
        "rounds_low": quantile(values, 0.05),
        "rounds_high": quantile(values, 0.95),
    }


class Samples:
    """All samples of a run, by what was done, and by server and round."""

    def __init__(self):
        self.rows = []

    def add(self, number, name, mail_format, connections, kind, sample):
        self.rows.append(
            {
                "round": number,
                "case": name,
                "format": mail_format,
                "connections": connections,
                "server": kind,
                **sample,
            }
        )

    def by_round(self, name, mail_format, connections, kind, field):
        found = {}
        for row in self.rows:
            key = row["case"], row["format"], row["connections"], row["server"]
            if key == (name, mail_format, connections, kind) and field in row:
                found[row["round"]] = row[field]
        return found

    def cells(self):
        """(format, connections) in which each case was measured."""
        found = defaultdict(list)
        for row in self.rows:
            cell = row["format"], row["connections"]
            if cell not in found[row["case"]]:
                found[row["case"]].append(cell)
        return {name: sorted(cells, key=str) for name, cells in found.items()}


def compare(samples, case, cell, field):
    """Lists, an element for each round: ours, stock (A and B), ours to stock, B to A."""
    stock_name = case.baseline or case.name
    first, second = (samples.by_round(stock_name, *cell, kind, field) for kind in STOCK)
    ours = samples.by_round(case.name, *cell, case.server, field)
    if not first:
        # Stock does nothing like it.
        return [ours[n] for n in sorted(ours)], [], [], []
    rounds = sorted(set(first) & set(second) & set(ours))
    stock = [(first[n] + second[n]) / 2 for n in rounds]
    if case.compare == "difference":
        relation = [ours[n] - mean for n, mean in zip(rounds, stock)]
        noise = [second[n] - first[n] for n in rounds]
    else:
        relation = [ours[n] / mean for n, mean in zip(rounds, stock)]
        noise = [second[n] / first[n] for n in rounds]
    return [ours[n] for n in rounds], stock, relation, noise


def verdict(case, interval, noise):
    if case.is_noise_target:
        return "met" if interval["low"] <= noise["high"] else "missed"
    if case.target is None:
        return ""
    value, low, high = interval["median"], interval["low"], interval["high"]
    met = value >= case.target if case.more_is_better else value <= case.target
    near = low <= case.target <= high
    return ("met" if met else "missed") + (" within the noise" if near else "")


def more_of(samples, name, cells):
    """Medians of what else was measured in these cells."""
    found = {}
    for field in ("drain_ms", "pushes_per_second"):
        values = [
            value
            for cell in cells
            for value in samples.by_round(name, *cell, OURS, field).values()
        ]
        if values:
            found[field] = statistics.median(values)
    return found


def row(case, cell, parts, cpu, more):
    """parts and cpu are what compare() gives, cpu perhaps of no rounds."""
    ours, stock, relation, noise = parts
    compared = ours if case.compare == "value" else relation
    interval = median_interval(compared)
    noise = noise_of(noise) if noise else None
    return {
        "case": case.name,
        "format": cell[0],
        "connections": cell[1],
        "rounds": len(ours),
        "unit": case.unit,
        "stock": statistics.median(stock) if stock else None,
        "ours": statistics.median(ours),
        "compare": case.compare,
        "result": interval,
        "noise": noise,
        "cpu_ratio": median_interval(cpu[2]) if cpu[2] else None,
        "target": case.target,
        "verdict": verdict(case, interval, noise),
        **more,
    }


def over_cells(parts, mean):
    """Of what compare() gives for each cell, the same for their mean, round by round."""
    return [[mean(values) for values in zip(*lists)] for lists in zip(*parts)]


def summarize(samples, cases):
    """A row for each case and cell, and one for the mean of its cells ("all")."""
    cells = samples.cells()
    rows = []
    for case in cases:
        if case.name not in cells:
            continue
        done = [compare(samples, case, cell, "value") for cell in cells[case.name]]
        cpus = [compare(samples, case, cell, "cpu") for cell in cells[case.name]]
        for cell, parts, cpu in zip(cells[case.name], done, cpus):
            more = more_of(samples, case.name, [cell])
            rows.append(row(case, cell, parts, cpu, more))
        is_ratio = case.compare == "ratio"
        average = statistics.geometric_mean if is_ratio else statistics.mean
        overall = over_cells(done, average)
        overall_cpu = over_cells(cpus, statistics.geometric_mean)
        more = more_of(samples, case.name, cells[case.name])
        rows.append(row(case, ("all", None), overall, overall_cpu, more))
    return rows

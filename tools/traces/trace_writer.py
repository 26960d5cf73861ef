"""Rows of sale in, a trace and its stock out. Memory grows with the distinct orders, cells and names, never with the lines."""

import csv
import os
from collections import namedtuple

TRACE_HEADER = "time,order,customer,store,sku,quantity,price"
STOCK_HEADER = "sku,location,quantity"
NAMES_HEADER = "name,number"
QUANTITY_MAX = 1000
LINES_MAX = 256
SKU_BYTES_MAX = 16
U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1

# One line of a basket. time_ms: whole ms from any start; order, sku: str; customer, store: an int that is its own number, or a name (str);
# quantity: int; amount: what the whole line cost, in minor units (float or int).
Row = namedtuple("Row", "time_ms order customer store sku quantity amount")


class Names:
    """Numbers for names: a number stands for itself, a text gets the next free one from 1."""

    def __init__(self, number_max):
        self.number_max = number_max
        self.numbers = {}

    def number(self, name):
        """-> the number, or None where the name is a number out of range."""
        known = self.numbers.get(name)
        if known is not None:
            return known
        number = name if isinstance(name, int) else len(self.numbers) + 1
        if not 1 <= number <= self.number_max:
            return None
        self.numbers[name] = number
        return number


def is_plain(text):
    """Whether a text can stand in the trace as it is: printable ASCII without what CSV would quote."""
    return text.isascii() and text.isprintable() and not any(c in text for c in ',"')


def unit_price(amount, quantity):
    """What one unit cost, rounded half up to whole minor units."""
    return int(amount / quantity + 0.5)


def stock_of(demand):
    """ceil(0.9 * demand), in integers."""
    return (9 * demand + 9) // 10


class TraceWriter:
    """Files get their names only when all are whole: until finish() they have the suffix .part, and leaving without it removes them."""

    FILES = ("trace.csv", "stock.csv", "locations.csv", "customers.csv")
    DROPS = {
        "quantity_low": "lines with quantity < 1",
        "quantity_high": f"lines with quantity > {QUANTITY_MAX}",
        "malformed": "malformed lines",
    }

    def __init__(self, directory, limit_orders=None):
        self.paths = {name: os.path.join(directory, name) for name in self.FILES}
        self.limit_orders = limit_orders
        self.trace = None
        self.locations = Names(U32_MAX)
        self.customers = Names(U64_MAX)
        self.demand = {}
        self.order_parts = {}
        self.order = None
        self.order_label = None
        self.order_lines = 0
        self.order_seen = None
        self.time_ms = 0
        self.counts = dict.fromkeys(
            ["orders", "lines", "skus", "stores", "customers", "cells", "units", "dropped_orders", "split_orders", "raised_times"], 0)
        self.counts.update({"dropped_" + why: 0 for why in self.DROPS})

    def __enter__(self):
        self.trace = open(self.paths["trace.csv"] + ".part", "w", encoding="ascii", newline="\n", buffering=1 << 20)
        self.trace.write(TRACE_HEADER + "\n")
        return self

    def __exit__(self, *_):
        self.trace.close()
        for path in self.paths.values():
            if os.path.exists(path + ".part"):
                os.remove(path + ".part")

    def add(self, row):
        """Takes the next line; lines of an order come one after the other. -> False: the limit of orders is reached, the row was left."""
        if row.order != self.order_seen:
            if self.limit_orders is not None and self.counts["orders"] >= self.limit_orders:
                return False
            self._end_order()
            self.order_seen = row.order
        why = self._fault(row)
        store = customer = None
        if why is None:
            store, customer = self.locations.number(row.store), self.customers.number(row.customer)
            if store is None or customer is None:
                why = "malformed"
        if why is not None:
            self.counts["dropped_" + why] += 1
            return True
        self._write(row, store, customer)
        return True

    def _fault(self, row):
        if row.quantity < 1:
            return "quantity_low"
        if row.quantity > QUANTITY_MAX:
            return "quantity_high"
        fits = 1 <= len(row.sku) <= SKU_BYTES_MAX and is_plain(row.sku) and " " not in row.sku and is_plain(row.order) and row.order
        return None if fits and row.amount >= 0 else "malformed"

    def _end_order(self):
        if self.order_seen is not None and self.order != self.order_seen:
            self.counts["dropped_orders"] += 1

    def _begin_part(self, order):
        part = self.order_parts.get(order, 0) + 1
        self.order_parts[order] = part
        if part > 1:
            self.counts["split_orders"] += 1
        self.order = order
        self.order_label = order if part == 1 else f"{order}#{part}"
        self.order_lines = 0
        self.counts["orders"] += 1

    def _write(self, row, store, customer):
        # An order that comes back after another began, or has more lines than a command takes, goes on under a name of its own.
        if row.order != self.order or self.order_lines == LINES_MAX:
            self._begin_part(row.order)
        if row.time_ms < self.time_ms:
            self.counts["raised_times"] += 1
        self.time_ms = max(self.time_ms, row.time_ms)
        self.order_lines += 1
        self.counts["lines"] += 1
        price = unit_price(row.amount, row.quantity)
        self.trace.write(f"{self.time_ms},{self.order_label},{customer},{store},{row.sku},{row.quantity},{price}\n")
        stores = self.demand.setdefault(row.sku, {})
        stores[store] = stores.get(store, 0) + row.quantity

    def finish(self):
        """Writes what stands beside the trace and names all files. -> the counts."""
        if self.order_seen is not None:
            self._end_order()
        if not self.counts["orders"]:
            raise ValueError("no order was left")
        self.trace.close()
        self._write_stock()
        self._write_names("locations.csv", self.locations)
        self._write_names("customers.csv", self.customers)
        for path in self.paths.values():
            os.replace(path + ".part", path)
        self.counts["stores"] = len(self.locations.numbers)
        self.counts["customers"] = len(self.customers.numbers)
        return self.counts

    def _write_stock(self):
        self.counts["skus"] = len(self.demand)
        with open(self.paths["stock.csv"] + ".part", "w", encoding="ascii", newline="\n") as file:
            file.write(STOCK_HEADER + "\n")
            for sku in sorted(self.demand):
                for store, units in sorted(self.demand[sku].items()):
                    file.write(f"{sku},{store},{stock_of(units)}\n")
                    self.counts["cells"] += 1
                    self.counts["units"] += units

    def _write_names(self, name, names):
        with open(self.paths[name] + ".part", "w", encoding="utf-8", newline="") as file:
            file.write(NAMES_HEADER + "\n")
            csv.writer(file, lineterminator="\n").writerows(names.numbers.items())

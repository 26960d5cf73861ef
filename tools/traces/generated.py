"""Baskets out of a seed, shaped like The Complete Journey. Every figure in the tables below was measured on its transactions."""

import math
import random
from bisect import bisect_right
from itertools import accumulate

from trace_writer import Row

ORDERS = 155848
DAYS = 365
HOUSEHOLDS = 2469
HOUR_MS = 3600000

# Share of baskets with at most so many lines.
BASKET_LINES = [(0.00, 1), (0.10, 1), (0.25, 2), (0.50, 5), (0.75, 12), (0.90, 24), (0.95, 35), (0.99, 59), (0.999, 90), (1.0, 161)]
# Share of all lines that the product (the store) of that rank has; between the ranks a straight line in logarithms: Zipf's law by pieces.
PRODUCT_SHARES = [(1, 1.16e-2), (2, 7.88e-3), (5, 3.69e-3), (10, 2.24e-3), (50, 1.09e-3), (100, 6.35e-4), (1000, 1.39e-4), (10000, 2.04e-5),
                  (30000, 2.72e-6), (68509, 6.8e-7)]
STORE_SHARES = [(1, 2.81e-2), (5, 1.66e-2), (50, 9.19e-3), (100, 3.85e-3), (200, 2.93e-5), (457, 1.36e-6)]
# Lines by hour of the day (UTC of a North American retailer) and by quantity, in parts of 10,000; quantity 0 is as bad as the real ones.
HOUR_PARTS = [708, 501, 291, 169, 81, 44, 28, 17, 11, 11, 24, 55, 108, 210, 367, 551, 702, 733, 783, 805, 883, 1013, 1026, 879]
QUANTITY_PARTS = [(1, 7878), (2, 1442), (3, 260), (4, 154), (5, 42), (6, 35), (8, 16), (10, 9), (12, 12), (0, 60)]
# Near every second basket of one line is a tankful, counted in thousandths: too high a quantity to be taken, as in the real data.
FUEL_SHARE, FUEL_QUANTITY = 0.456, 20000


def log_line(points, x):
    """The value at x of the line through points (x, y) that is straight in both logarithms."""
    at = min(max(bisect_right(points, (x, math.inf)), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return y0 * math.exp(math.log(y1 / y0) * math.log(x / x0) / math.log(x1 / x0))


class Draw:
    """Draws an index by weights."""

    def __init__(self, weights, rng):
        self.sums = list(accumulate(weights))
        self.rng = rng

    def index(self):
        return min(bisect_right(self.sums, self.rng.random() * self.sums[-1]), len(self.sums) - 1)


class Shop:
    """All that is drawn from. Only Random.random() is used: its sequence is the same in every version of Python."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.products = Draw([log_line(PRODUCT_SHARES, rank) for rank in range(1, PRODUCT_SHARES[-1][0] + 1)], self.rng)
        self.stores = Draw([log_line(STORE_SHARES, rank) for rank in range(1, STORE_SHARES[-1][0] + 1)], self.rng)
        self.hours = Draw(HOUR_PARTS, self.rng)
        self.quantities = Draw([parts for _, parts in QUANTITY_PARTS], self.rng)
        self.home_store = [self.stores.index() + 1 for _ in range(HOUSEHOLDS)]

    def below(self, n):
        return int(self.rng.random() * n)

    def basket_lines(self):
        u = self.rng.random()
        at = next(k for k in range(1, len(BASKET_LINES)) if u < BASKET_LINES[k][0])
        (u0, n0), (u1, n1) = BASKET_LINES[at - 1], BASKET_LINES[at]
        return max(1, round(n0 * (n1 / n0) ** ((u - u0) / (u1 - u0))))

    def times_of_day(self, count):
        return sorted(int((self.hours.index() + self.rng.random()) * HOUR_MS) for _ in range(count))

    def basket(self, time_ms, order):
        household = self.below(HOUSEHOLDS)
        # Four baskets of five are bought where the household always goes.
        store = self.home_store[household] if self.rng.random() < 0.8 else self.stores.index() + 1
        # A product stands once in a basket, as at the till, in the order it was drawn.
        wanted = dict.fromkeys(self.products.index() for _ in range(self.basket_lines()))
        is_fuel = len(wanted) == 1 and self.rng.random() < FUEL_SHARE
        for product in wanted:
            quantity = FUEL_QUANTITY if is_fuel else QUANTITY_PARTS[self.quantities.index()][0]
            # 50 to 1,549 minor units, the same for a product in every basket.
            price = 50 + product * 7919 % 1500
            yield Row(time_ms, order, household + 1, store, f"P{product + 1:06d}", quantity, quantity * price)


def rows_of(seed):
    shop = Shop(seed)
    number = 0
    for day in range(DAYS):
        count = (day + 1) * ORDERS // DAYS - day * ORDERS // DAYS
        for time_of_day_ms in shop.times_of_day(count):
            number += 1
            yield from shop.basket(day * 24 * HOUR_MS + time_of_day_ms, f"G{number:07d}")


class Source:
    def __init__(self, scratch, seed):
        del scratch
        self.seed = seed

    def rows(self):
        return rows_of(self.seed)

    def close(self):
        pass

    def provenance(self):
        origin = "generated here, shaped like The Complete Journey"
        return {"package": f"none; seed {self.seed}", "origin": origin, "licence": "that of Holdfast"}

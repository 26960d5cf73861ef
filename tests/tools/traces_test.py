"""tools/traces offline: the generated source end to end, and the conversions of the real ones on rows made here."""

import csv
import filecmp
import os
import subprocess
import sys
import tempfile
import unittest
from collections import Counter

sys.dont_write_bytecode = True
TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "traces")
sys.path.insert(0, TOOL)

import clients  # noqa: E402
import completejourney  # noqa: E402
import generated  # noqa: E402
import superstore  # noqa: E402
from trace_writer import Row, TraceWriter, stock_of  # noqa: E402

FILES = ("trace.csv", "stock.csv", "locations.csv", "customers.csv")
ORDERS = 300


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read().split("\n")


def make_trace(*arguments):
    command = [sys.executable, "-B", os.path.join(TOOL, "make-trace"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class InDirectory(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def written(self, rows, limit_orders=None):
        with TraceWriter(self.directory, limit_orders) as writer:
            for row in rows:
                if not writer.add(row):
                    break
            counts = writer.finish()
        return counts, lines_of(self.path("trace.csv"))[1:-1]


class TheGeneratedSource(InDirectory):
    def generate(self, name, seed=7):
        done = make_trace("--source", "generated", "--out", self.path(name), "--limit-orders", str(ORDERS), "--seed", str(seed))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_writes_exactly_the_agreed_formats(self):
        self.generate("a")
        trace, stock = lines_of(self.path("a", "trace.csv")), lines_of(self.path("a", "stock.csv"))
        self.assertEqual(trace[0], "time,order,customer,store,sku,quantity,price")
        self.assertEqual(stock[0], "sku,location,quantity")
        self.assertEqual((trace[-1], stock[-1]), ("", ""))
        time_before = 0
        for line in trace[1:-1]:
            time_ms, order, customer, store, sku, quantity, price = line.split(",")
            self.assertTrue(order)
            self.assertGreaterEqual(int(time_ms), time_before)
            time_before = int(time_ms)
            self.assertIn(int(customer), range(1, 2**64))
            self.assertIn(int(store), range(1, 2**32))
            self.assertTrue(1 <= len(sku.encode("ascii")) <= 16)
            self.assertIn(int(quantity), range(1, 1001))
            self.assertGreaterEqual(int(price), 0)

    def test_keeps_the_lines_of_an_order_adjacent_in_one_store_and_at_most_256(self):
        self.generate("a")
        rows = list(csv.DictReader(lines_of(self.path("a", "trace.csv"))))
        runs = [row for before, row in zip([{"order": None}] + rows, rows) if row["order"] != before["order"]]
        self.assertEqual(len(runs), ORDERS)
        self.assertEqual(len({row["order"] for row in rows}), ORDERS)
        self.assertEqual(len({(row["order"], row["store"], row["customer"], row["time"]) for row in rows}), ORDERS)
        self.assertLessEqual(max(Counter(row["order"] for row in rows).values()), 256)

    def test_stocks_nine_tenths_of_the_demand_rounded_up(self):
        self.generate("a")
        demand = Counter()
        for row in csv.DictReader(lines_of(self.path("a", "trace.csv"))):
            demand[row["sku"], row["store"]] += int(row["quantity"])
        stock = {(row["sku"], row["location"]): int(row["quantity"]) for row in csv.DictReader(lines_of(self.path("a", "stock.csv")))}
        self.assertEqual(stock, {cell: -(-9 * units // 10) for cell, units in demand.items()})

    def test_gives_the_same_files_for_a_seed_and_others_for_another(self):
        for name, seed in (("a", 7), ("b", 7), ("c", 8)):
            self.generate(name, seed)
        same, _, _ = filecmp.cmpfiles(self.path("a"), self.path("b"), FILES, shallow=False)
        self.assertEqual(sorted(same), sorted(FILES))
        self.assertFalse(filecmp.cmp(self.path("a", "trace.csv"), self.path("c", "trace.csv"), shallow=False))

    def test_names_its_source_and_counts_what_it_dropped(self):
        said = self.generate("a")
        rows = [row for row, _ in zip(generated.rows_of(7), range(20 * ORDERS))]
        self.assertRegex(said, r"(?m)^source +generated$")
        self.assertRegex(said, rf"(?m)^orders +{ORDERS}$")
        self.assertRegex(said, r"(?m)^licence +\S")
        self.assertRegex(said, r"dropped +[1-9]\d* lines with quantity < 1, [1-9]\d* lines with quantity > 1000, 0 malformed")
        self.assertTrue(any(row.quantity < 1 for row in rows) and any(row.quantity > 1000 for row in rows))

    def test_has_the_shape_of_the_real_baskets(self):
        shop = generated.Shop(3)
        sizes = sorted(shop.basket_lines() for _ in range(4000))
        self.assertIn(sizes[2000], range(4, 7))
        self.assertIn(sizes[3600], range(21, 28))
        self.assertLessEqual(sizes[-1], 161)
        products = Counter(shop.products.index() for _ in range(20000))
        self.assertEqual(products.most_common(1)[0][0], 0)
        self.assertGreater(len(products), 3000)


class TheCommand(InDirectory):
    def test_is_refused_with_2_on_wrong_usage(self):
        for wrong in ([], ["--out", self.directory, "--source", "elsewhere"], ["--out", self.directory, "--limit-orders", "0"]):
            self.assertEqual(make_trace(*wrong).returncode, 2)

    def test_says_in_one_line_what_is_wrong_with_the_directory(self):
        with open(self.path("file"), "w", encoding="ascii"):
            pass
        done = make_trace("--source", "generated", "--out", self.path("file"))
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1))

    def test_a_client_that_fails_or_hangs_becomes_a_reason(self):
        for command, reason in ((["sh", "-c", "echo error: it broke >&2; exit 3"], "exit 3: error: it broke"),
                                (["sh", "-c", "sleep 60"], "not done after"), ([self.path("nothing-here")], "No such file")):
            with self.assertRaisesRegex(clients.SourceError, reason):
                clients.run(command, 0.5, self.directory)
        with self.assertRaisesRegex(clients.SourceError, "apt-get install some-package"):
            clients.need("holdfast-no-such-program", "some-package")


class TheWriter(InDirectory):
    def test_drops_and_counts_what_no_order_can_carry(self):
        counts, trace = self.written([
            Row(0, "o1", 1, 1, "A", 0, 100), Row(0, "o1", 1, 1, "A", 1000, 100000), Row(0, "o1", 1, 1, "A", 1001, 1),
            Row(1, "o2", 1, 1, "A", -1, 5),
            Row(2, "o3", 1, 0, "A", 1, 5), Row(2, "o3", 1, 2**32, "A", 1, 5), Row(2, "o3", 0, 1, "A", 1, 5), Row(2, "o3", 1, 1, "A", 1, -5),
            Row(2, "o3", 1, 1, "", 1, 5), Row(2, "o3", 1, 1, "X" * 17, 1, 5), Row(2, "o3", 1, 1, "É", 1, 5),
            Row(2, "o3", 1, 1, "A,B", 1, 5),
            Row(3, "o4", 1, 1, "X" * 16, 2, 5)])
        self.assertEqual(trace, ["0,o1,1,1,A,1000,100", "3,o4,1,1,XXXXXXXXXXXXXXXX,2,3"])
        self.assertEqual((counts["dropped_quantity_low"], counts["dropped_quantity_high"], counts["dropped_malformed"]), (2, 1, 8))
        self.assertEqual((counts["dropped_orders"], counts["orders"], counts["lines"]), (2, 2, 2))

    def test_keeps_several_lines_of_one_product_as_they_are(self):
        _, trace = self.written([Row(0, "o", 1, 2, "A", 1, 10), Row(0, "o", 1, 2, "A", 4, 40)])
        self.assertEqual(trace, ["0,o,1,2,A,1,10", "0,o,1,2,A,4,10"])
        self.assertEqual(lines_of(self.path("stock.csv")), ["sku,location,quantity", "A,2,5", ""])

    def test_splits_an_order_of_257_lines_and_one_that_comes_back(self):
        rows = [Row(0, "big", 1, 1, f"S{k}", 1, 1) for k in range(257)] + [Row(5, "next", 1, 1, "A", 1, 1), Row(3, "big", 1, 1, "A", 1, 1)]
        counts, trace = self.written(rows)
        orders = Counter(line.split(",")[1] for line in trace)
        self.assertEqual(orders, {"big": 256, "big#2": 1, "next": 1, "big#3": 1})
        self.assertEqual((counts["split_orders"], counts["raised_times"], counts["orders"]), (2, 1, 4))
        self.assertTrue(trace[-1].startswith("5,"))

    def test_numbers_names_and_writes_them_beside_the_trace(self):
        _, trace = self.written([Row(0, "o", "Ann, of \"X\"", "South", "A", 1, 1), Row(0, "p", "Bob", "West", "A", 1, 1),
                                 Row(1, "q", "Bob", "South", "A", 1, 1)])
        self.assertEqual([line.split(",")[2:4] for line in trace], [["1", "1"], ["2", "2"], ["2", "1"]])
        self.assertEqual(lines_of(self.path("locations.csv")), ["name,number", "South,1", "West,2", ""])
        self.assertEqual(list(csv.reader(lines_of(self.path("customers.csv"))))[1], ["Ann, of \"X\"", "1"])

    def test_stops_at_the_limit_and_stocks_only_what_was_written(self):
        counts, trace = self.written([Row(0, f"o{k}", 1, 1, "A", 10, 1) for k in range(5)], limit_orders=2)
        self.assertEqual((counts["orders"], len(trace)), (2, 2))
        self.assertEqual(lines_of(self.path("stock.csv"))[1], "A,1,18")

    def test_leaves_no_file_when_the_source_fails_or_had_no_order(self):
        with self.assertRaises(ValueError):
            self.written([Row(0, "o", 1, 1, "A", 0, 1)])
        with self.assertRaises(clients.SourceError), TraceWriter(self.directory) as writer:
            writer.add(Row(0, "o", 1, 1, "A", 1, 1))
            raise clients.SourceError("gone")
        self.assertEqual(os.listdir(self.directory), [])

    def test_rounds_the_stock_up(self):
        self.assertEqual([stock_of(n) for n in (1, 2, 9, 10, 11, 19, 20, 100, 101)], [1, 2, 9, 9, 10, 18, 18, 90, 91])


class TheConversions(InDirectory):
    def test_complete_journey_keeps_its_numbers_and_starts_at_time_0(self):
        records = [["900", "330", "31198570044", "1095275", "1", "0.5", "1483271606000"],
                   ["906", "319", "31198705046", "1053875", "2", "2.78", "1483273827500"],
                   ["906", "319", "31198705046", "6534178", "13988", "24.3", "1483273827500"],
                   ["906", "319", "31198705046", "42", "3", "1.00", "1483273827500"]]
        counts, trace = self.written(completejourney.convert(records))
        self.assertEqual(trace, ["0,31198570044,900,330,1095275,1,50", "2221500,31198705046,906,319,1053875,2,139",
                                 "2221500,31198705046,906,319,42,3,33"])
        self.assertEqual(counts["dropped_quantity_high"], 1)
        self.assertEqual(lines_of(self.path("locations.csv")), ["name,number", "330,330", "319,319", ""])

    def test_superstore_sorts_by_day_and_spreads_a_days_orders(self):
        def record(order, day, customer, region, product, quantity, sales):
            return {"Order ID": order, "Order Date": day, "Customer ID": customer, "Region": region, "Product ID": product,
                    "Quantity": quantity, "Sales": sales}

        records = [record("CA-3", "2014-01-05", "BH-1", "West", "OFF-PA-10000174", "2", "16.448"),
                   record("CA-1", "2014-01-03", "CG-2", "South", "FUR-BO-10001798", "2", "261.96"),
                   record("CA-2", "2014-01-03", "BH-1", "West", "TEC-1", "1", "5"),
                   record("CA-3", "2014-01-05", "BH-1", "West", "OFF-1", "14", "1")]
        _, trace = self.written(superstore.convert(records))
        self.assertEqual(trace, ["0,CA-1,1,1,FUR-BO-10001798,2,13098", "43200000,CA-2,2,2,TEC-1,1,500",
                                 "172800000,CA-3,2,2,OFF-PA-10000174,2,823", "172800000,CA-3,2,2,OFF-1,14,7"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

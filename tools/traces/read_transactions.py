"""Runs in the throw-away environment, where pyarrow is: the wanted columns of a parquet file as CSV, a bounded batch at a time."""

import sys

import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

COLUMNS = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
BATCH_ROWS = 50000


def main():
    options = pyarrow.csv.WriteOptions(include_header=False)
    file = pyarrow.parquet.ParquetFile(sys.argv[1])
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=COLUMNS):
        table = pyarrow.Table.from_batches([batch]).select(COLUMNS)
        times = table["transaction_timestamp"].cast(pyarrow.timestamp("ms"), safe=False).cast(pyarrow.int64())
        table = table.set_column(len(COLUMNS) - 1, "time_ms", times)
        pyarrow.csv.write_csv(table, sys.stdout.buffer, options)


if __name__ == "__main__":
    main()

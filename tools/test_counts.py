"""Counts test cases from what meson keeps of a run (meson-logs/testlog.json, one JSON object a line).

A cmocka or unittest binary counts its cases; anything else counts as one. A binary that died, timed out or failed
without naming a failed case counts as one failure more than it named, so that no failure is ever lost in the sum.
"""

import json
import re
from typing import NamedTuple

TOTAL = re.compile(r'^(\d+) passed, (\d+) failed, (\d+) skipped$')
CMOCKA_CLOSING = re.compile(r'^\[\s+(PASSED|FAILED|SKIPPED)\s+\] (\d+) test\(s\)', re.M)
CMOCKA_STARTED = re.compile(r'^\[==========\] Running \d+ test\(s\)\.', re.M)
CMOCKA_FINISHED = re.compile(r'^\[==========\] \d+ test\(s\) run\.', re.M)
CMOCKA_CASE = re.compile(r'^\[\s+(OK|FAILED|SKIPPED)\s+\] \w+$', re.M)
UNITTEST_RAN = re.compile(r'^Ran (\d+) tests? in ', re.M)
UNITTEST_NOTE = re.compile(r'^(?:OK|FAILED) \((.*)\)$', re.M)


class Counts(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other):
        return Counts(*(a + b for a, b in zip(self, other)))

    def line(self):
        return f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped'

    def good(self):
        return self.passed > 0 and self.failed == 0 and self.skipped == 0


def parse_total(text):
    """The counts of the last total line in text, None without one."""
    for line in reversed(text.splitlines()):
        found = TOTAL.match(line.strip())
        if found:
            return Counts(*map(int, found.groups()))
    return None


def count_cmocka(output):
    """Cases of a cmocka binary, None if it is not one. A group that never finished is counted by its case lines."""
    if not CMOCKA_STARTED.search(output):
        return None
    complete = len(CMOCKA_STARTED.findall(output)) == len(CMOCKA_FINISHED.findall(output))
    if complete:
        pairs = [(word, int(number)) for word, number in CMOCKA_CLOSING.findall(output)]
    else:
        pairs = [(word, 1) for word in CMOCKA_CASE.findall(output)]
    total = {'PASSED': 0, 'OK': 0, 'FAILED': 0, 'SKIPPED': 0}
    for word, number in pairs:
        total[word] += number
    return Counts(total['PASSED'] + total['OK'], total['FAILED'], total['SKIPPED'])


def count_unittest(output):
    """Cases of a Python unittest run, None if it is not one."""
    ran = sum(map(int, UNITTEST_RAN.findall(output)))
    if not UNITTEST_RAN.search(output):
        return None
    named = {}
    for note in UNITTEST_NOTE.findall(output):
        for part in note.split(', '):
            key, _, number = part.partition('=')
            named[key] = named.get(key, 0) + int(number or 0)
    failed = named.get('failures', 0) + named.get('errors', 0) + named.get('unexpected successes', 0)
    skipped = named.get('skipped', 0)
    return Counts(max(ran - failed - skipped, 0), failed, skipped)


def count_test(test):
    """Counts of one object of testlog.json."""
    output = (test.get('stdout') or '') + '\n' + (test.get('stderr') or '')
    result = test.get('result')
    counts = count_cmocka(output) or count_unittest(output) or Counts()
    if result in ('OK', 'EXPECTEDFAIL'):
        return counts if sum(counts) else Counts(passed=1)
    if result == 'SKIP':
        return counts if counts.skipped else counts.plus(Counts(skipped=1))
    return counts if counts.failed and result == 'FAIL' else counts.plus(Counts(failed=1))


def read_log(path):
    with open(path, encoding='utf-8', errors='replace') as log:
        return [json.loads(line) for line in log if line.strip()]

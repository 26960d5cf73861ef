"""The models of ring/ hold, and fail as soon as one of its acquires or releases is weakened.

meson gives the checker's program. HF_TEST_SCALE=full runs many more iterations of each model.
"""

import glob
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FULL = os.environ.get('HF_TEST_SCALE', 'default') == 'full'
ITERATIONS = 100000 if FULL else 3000
CHECKER = sys.argv.pop()
USE = re.compile(r'\bhf_\w+_(acquire|release|acq_rel)_u(?:32|64)\(')
LINE = re.compile(r'^(\w+\.[ch]):(\d+) \w+ (\w+) -> \w+: (.*)$', re.M)


def orderings_in_source():
    """(file, line, order) of each use in ring/; an acq_rel stands twice, since each half is weakened alone."""
    found = []
    for path in sorted(glob.glob(os.path.join(ROOT, 'ring/*.[ch]'))):
        if os.path.basename(path) == 'atomics.h':
            continue
        with open(path, encoding='utf-8') as source:
            for number, line in enumerate(source, 1):
                for use in USE.finditer(line):
                    found += [(os.path.basename(path), number, use.group(1))] * (2 if use.group(1) == 'acq_rel' else 1)
    return sorted(found)


class Orderings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = subprocess.run([CHECKER, '--iterations', str(ITERATIONS)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        cls.status, cls.said = done.returncode, done.stdout
        print(cls.said)

    def test_the_models_hold_as_the_code_stands(self):
        runs = re.findall(r': (\d+) runs .*: good$', self.said, re.M)
        self.assertGreaterEqual(sum(map(int, runs)), 9 * ITERATIONS, self.said)
        self.assertNotRegex(self.said, r'(?i)race detected|livelock detected')

    def test_every_ordering_weakened_alone_is_caught(self):
        total = re.search(r'^orderings: (\d+), caught: (\d+)$', self.said, re.M)
        self.assertTrue(total, self.said)
        self.assertEqual(total.group(1), total.group(2), self.said)
        self.assertEqual(self.status, 0)

    def test_no_ordering_of_the_source_is_left_out(self):
        weakened = sorted((name, int(line), order) for name, line, order, _ in LINE.findall(self.said))
        self.assertEqual(weakened, orderings_in_source())


if __name__ == '__main__':
    unittest.main()

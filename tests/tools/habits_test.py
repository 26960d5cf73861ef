#!/usr/bin/env python3
"""The counting of tests and the checks of lint, each on a small case that must pass and one that must not."""

import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tools'))
sys.dont_write_bytecode = True

import lint_tree  # noqa: E402
import test_counts  # noqa: E402
from test_counts import Counts  # noqa: E402

CMOCKA_GOOD = ('[==========] Running 2 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[       OK ] b\n'
               '[==========] 2 test(s) run.\n')


def test_object(result, stdout='', stderr=''):
    return {'name': 'wire - holdfast:wire/result', 'result': result, 'stdout': stdout, 'stderr': stderr}


class Counting(unittest.TestCase):
    def test_cmocka_cases_are_counted_one_by_one(self):
        counts = test_counts.count_test(test_object('OK', CMOCKA_GOOD, '[  PASSED  ] 2 test(s).\n'))
        self.assertEqual(counts, Counts(2, 0, 0))

    def test_cmocka_groups_of_one_binary_add_up(self):
        closing = '[  PASSED  ] 2 test(s).\n' * 2
        self.assertEqual(test_counts.count_test(test_object('OK', CMOCKA_GOOD * 2, closing)), Counts(4, 0, 0))

    def test_cmocka_failures_and_skips_are_told_apart(self):
        closing = '[  PASSED  ] 1 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] b\n'
        self.assertEqual(test_counts.count_test(test_object('FAIL', CMOCKA_GOOD, closing)), Counts(1, 1, 1))

    def test_a_crash_after_passing_cases_is_a_failure(self):
        begun = '[==========] Running 3 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n'
        self.assertEqual(test_counts.count_test(test_object('FAIL', begun)), Counts(1, 1, 0))

    def test_a_sanitizer_report_at_exit_is_a_failure_though_every_case_passed(self):
        counts = test_counts.count_test(test_object('FAIL', CMOCKA_GOOD, '[  PASSED  ] 2 test(s).\nERROR: LeakSanitizer\n'))
        self.assertEqual(counts, Counts(2, 1, 0))

    def test_a_timeout_is_a_failure_beside_the_cases_it_named(self):
        begun = '[==========] Running 3 test(s).\n[  FAILED  ] a\n[ RUN      ] b\n'
        self.assertEqual(test_counts.count_test(test_object('TIMEOUT', begun)), Counts(0, 2, 0))

    def test_unittest_cases_are_counted(self):
        self.assertEqual(test_counts.count_test(test_object('OK', '', 'Ran 7 tests in 0.1s\n\nOK\n')), Counts(7, 0, 0))
        noted = 'Ran 7 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=1)\n'
        self.assertEqual(test_counts.count_test(test_object('FAIL', '', noted)), Counts(3, 3, 1))

    def test_any_other_test_counts_as_one(self):
        self.assertEqual(test_counts.count_test(test_object('OK', 'hello\n')), Counts(1, 0, 0))
        self.assertEqual(test_counts.count_test(test_object('SKIP')), Counts(0, 0, 1))
        self.assertEqual(test_counts.count_test(test_object('ERROR')), Counts(0, 1, 0))

    def test_the_total_line_is_read_back_as_written(self):
        counts = Counts(12, 3, 4)
        self.assertEqual(counts.line(), '12 passed, 3 failed, 4 skipped')
        self.assertEqual(test_counts.parse_total('noise\n' + counts.line() + '\n'), counts)
        self.assertIsNone(test_counts.parse_total('12 passed\n'))

    def test_only_passes_and_nothing_else_is_good(self):
        self.assertTrue(Counts(1, 0, 0).good())
        for counts in (Counts(), Counts(1, 1, 0), Counts(1, 0, 1)):
            self.assertFalse(counts.good())


class Checking(unittest.TestCase):
    def problems(self, check, files):
        """(path, line) of each problem that the check finds in a tree of these files."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), 'w', encoding='utf-8') as file:
                    file.write(text)
            return [(path, line) for path, line, _ in lint_tree.CHECKS[check](lint_tree.Tree(root, list(files)))]

    def test_a_banned_call_is_found_but_not_in_comments_strings_or_members(self):
        text = '/* strcpy(a) */\nconst char *s = "atoi(x)";\nvoid f(void) { hf_rand(); x.rand(); y->rand(); }\nint g = atoi(s);\n'
        self.assertEqual(self.problems('calls', {'net/a.c': text}), [('net/a.c', 4)])

    def test_allocation_is_refused_in_engine_and_ring_unless_a_reason_is_given(self):
        text = 'void *a = malloc(1);\n/* lint-ok: at start only */\nvoid *b = malloc(1);\n'
        self.assertEqual(self.problems('calls', {'engine/a.c': text, 'client/a.c': text}), [('engine/a.c', 1)])

    def test_atomics_stand_in_their_header_alone_and_fences_nowhere(self):
        text = '#include <stdatomic.h>\nint hf_atomic_x;\n'
        self.assertEqual(self.problems('atomics', {'ring/atomics.h': text, 'net/a.c': text}), [('net/a.c', 1)])
        self.assertEqual(self.problems('atomics', {'ring/atomics.h': 'x;\natomic_thread_fence(y);\n'}), [('ring/atomics.h', 2)])

    def test_imports_point_one_way(self):
        files = {
            'engine/a.c': '#include "wire/w.h"\n#include "ring/r.h"\n',
            'wire/w.h': '#include "engine/e.h"\n',
            'client/load.c': '#include "persist/p.h"\n',
            'client/offline_replay.c': '#include "persist/p.h"\n#include "engine/e.h"\n',
            'server/main.c': '#include "persist/p.h"\n#include "net/n.h"\n',
            'bench/b.c': '#include "engine/e.h"\n#include "server/s.h"\n',
            'control/grpc/g.c': '#include "ring/atomics.h"\n#include "wire/w.h"\n#include "control/c.h"\n',
            'control/c.c': '#include "control/grpc/g.h"\n#include "wire/w.h"\n',
            'tests/net/n_test.c': '#include "server/s.h"\n',
            'tests/server/s_test.c': '#include "server/s.h"\n',
        }
        expected = [('client/load.c', 1), ('control/grpc/g.c', 2), ('control/grpc/g.c', 3), ('engine/a.c', 2), ('tests/net/n_test.c', 1),
                    ('wire/w.h', 1)]
        self.assertEqual(self.problems('imports', files), expected)

    def test_the_oracle_knows_the_wire_formats_alone(self):
        files = {
            'tests/oracle/model.c': '#include "wire/w.h"\n#include "tests/oracle/oracle_p.h"\n#include "engine/engine.h"\n',
            'tests/oracle/judge.c': '#include "client/audit.h"\n#include "tests/engine/kit.h"\n',
            'tests/property/world.c': '#include "engine/engine.h"\n#include "tests/oracle/oracle.h"\n',
        }
        expected = [('tests/oracle/judge.c', 1), ('tests/oracle/judge.c', 2), ('tests/oracle/model.c', 3)]
        self.assertEqual(self.problems('imports', files), expected)

    def test_private_headers_stay_in_their_folder_and_its_tests(self):
        line = '#include "engine/state_p.h"\n'
        files = {'server/a.c': line, 'engine/a.c': line, 'tests/engine/a_test.c': line}
        self.assertEqual(self.problems('imports', files), [('server/a.c', 1)])

    def test_a_folder_of_code_has_a_short_readme(self):
        files = {'wire/a.h': '', 'ring/a.h': '', 'ring/README.md': 'line\n' * 41, 'docs/a.md': ''}
        self.assertEqual(self.problems('readmes', files), [('wire/README.md', 1), ('ring/README.md', 41)])

    def test_paths_of_one_machine_are_found(self):
        home = '/' + 'home'
        text = f'a{home}/x\nsee https://x.org{home}\nopen("{home}/me")\n$ROOT{home}\n'
        self.assertEqual(self.problems('paths', {'tools/a': text}), [('tools/a', 3)])

    def test_result_codes_and_their_table_agree(self):
        header = 'enum hf_result {\n    HF_OK = 0,\n    HF_BUSY = 20,\n};\n'
        page = '# P\n| 20 | PLACE |\n## Result codes\n| 0 | `OK` | fine |\n| 20 | BUSY | later |\n## Next\n| 1 | PLACE |\n'
        self.assertEqual(self.problems('results', {'wire/result.h': header, 'docs/protocol.md': page}), [])
        wrong = page.replace('| 20 | BUSY | later |\n', '| 21 | BUSY | later |\n')
        expected = [('docs/protocol.md', 5), ('wire/result.h', 3)]
        self.assertEqual(self.problems('results', {'wire/result.h': header, 'docs/protocol.md': wrong}), expected)

    def test_a_result_code_is_numbered_once(self):
        header = 'enum hf_result {\n    HF_OK = 0,\n    HF_BUSY = 0,\n};\n'
        page = '# Result codes\n| 0 | BUSY |\n'
        self.assertEqual(self.problems('results', {'wire/result.h': header, 'docs/protocol.md': page}), [('wire/result.h', 3)])

    def test_a_python_test_that_nothing_runs_is_found(self):
        files = {'tests/a/x_test.py': '', 'tests/a/y_test.py': '', 'tests/a/meson.build': "files('x_test.py')"}
        self.assertEqual(self.problems('registered', files), [('tests/a/y_test.py', 1)])


if __name__ == '__main__':
    unittest.main()

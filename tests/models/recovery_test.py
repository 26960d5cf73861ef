"""Spin looks at every state of the recovery rule's model (recovery.pml), and finds the error in each mutant of it.

HF_TEST_SCALE=full lets the process end three times instead of two. Everything is made in a temporary directory.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import tempfile
import unittest

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'recovery.pml')
FULL = os.environ.get('HF_TEST_SCALE', 'default') == 'full'
RULE = ['-DENDS=3'] if FULL else []
# Each is an #ifdef of the model; three blocks suffice to show what it breaks.
MUTANTS = ['ACCEPT_GAP', 'ANSWER_BEFORE_DURABLE', 'ANSWER_OUT_OF_ORDER', 'IGNORE_BEGINNINGS', 'IGNORE_CLEAN', 'IGNORE_STATED', 'OLDER_TERM',
           'OTHER_POSITION', 'REFUSE_ANY_LATER', 'SHORT_LOOK', 'SKIP_BEGINNING', 'SKIP_FLUSH']


def run(command, directory):
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return done.returncode, done.stdout


class Verdict:
    """What Spin's verifier says of the model with some macros: it ended, with so many errors and states."""

    def __init__(self, directory, name, macros, optimise):
        here = os.path.join(directory, name)
        os.mkdir(here)
        self.said = ''
        for command in (['spin'] + macros + ['-a', MODEL], ['gcc', optimise, '-w', '-DSAFETY', '-DNOREDUCE', 'pan.c', '-o', 'pan'],
                        ['./pan', '-m100000', '-n', '-w22']):
            status, said = run(command, here)
            self.said += said
            if status != 0:
                break
        self.errors = self.number(r'errors: (\d+)')
        self.states = self.number(r'(\d+) states, stored')
        broken = re.search(r'assertion violated (.*) \(at depth', said)
        self.broken = broken.group(1).strip() if broken else None
        self.complete = self.errors is not None and 'Search not completed' not in said and 'max search depth too small' not in said

    def number(self, pattern):
        found = re.search(pattern, self.said)
        return int(found.group(1)) if found else None


class Recovery(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='holdfast-spin.')
        self.addCleanup(shutil.rmtree, self.directory)

    def test_the_rule_holds_in_every_state(self):
        verdict = Verdict(self.directory, 'rule', RULE, '-O1')
        print(f'recovery rule: states: {verdict.states}, errors: {verdict.errors}', flush=True)
        self.assertTrue(verdict.complete, verdict.said)
        self.assertEqual(verdict.errors, 0, verdict.said)
        self.assertGreater(verdict.states, 1000000)

    def test_every_mutant_breaks_an_assert(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            verdicts = list(pool.map(lambda name: Verdict(self.directory, name, ['-DBLOCKS=3', '-D' + name], '-O0'), MUTANTS))
        for name, verdict in zip(MUTANTS, verdicts):
            print(f'{name}: {verdict.broken}, after {verdict.states} states')
        caught = [name for name, verdict in zip(MUTANTS, verdicts) if verdict.errors == 1 and verdict.broken]
        print(f'mutants: {len(MUTANTS)}, caught: {len(caught)}', flush=True)
        self.assertEqual(caught, MUTANTS)

    def test_no_mutant_of_the_model_is_left_out(self):
        with open(MODEL, encoding='utf-8') as model:
            named = set(re.findall(r'(?:ifdef|ifndef|defined\()\s*([A-Z_]+)', model.read()))
        self.assertEqual(sorted(named - {'BLOCKS', 'ENDS'}), MUTANTS)


if __name__ == '__main__':
    unittest.main()

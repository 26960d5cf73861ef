"""The checks of `make lint` that need only the text of the tree.

Every check takes a Tree and yields (path, line, what is wrong and what to do). A line that has good reason to break a
rule says so: a comment `lint-ok: <reason>` on it or on the line above lets it pass.
"""

import ast
import os
import re
import subprocess

COLUMNS_MAX = 140
README_LINES_MAX = 40

# Who may include whom; tests may reach everything but server/, which only its own tests, those of whole nodes and bench/ know.
IMPORTS = {
    'wire': {'wire'},
    'ring': {'ring'},
    'engine': {'wire', 'engine'},
    'persist': {'wire', 'ring', 'persist'},
    'net': {'wire', 'ring', 'net'},
    'control': {'wire', 'ring', 'control'},
    'forward': {'wire', 'client', 'forward'},
    'client': {'wire', 'client'},
}
# The general server knows nothing of Holdfast.
LIFTABLE, LIFTABLE_EXTRA = 'control/grpc/', {'ring/atomics.h'}
OFFLINE_EXTRA = {'persist', 'engine'}
# What a client on a DPDK device shares with the engine: functions over packets, addresses and DPDK's threads, which know no session.
DEVICE_EXTRA = {'net/dpdk/ip.h', 'net/dpdk/device.h', 'net/dpdk/hold.h'}
# The one file of server/ that another folder uses: the tool replays a directory with the code that holdfastd starts with.
REPLAY = 'server/replay.h'
# What judges the engine must not share its ideas: the oracle knows the wire formats and nothing else.
ORACLE = 'tests/oracle/'
PRODUCT = set(IMPORTS) | {'server'}
CODE_FOLDERS = PRODUCT | {'bench', 'tests', 'tools', 'proto', 'deploy'}

BANNED_CALLS = {
    'strcpy': 'memcpy with the length you know, or snprintf',
    'strcat': 'snprintf into the rest of the buffer',
    'strncpy': 'memcpy of a checked length: strncpy leaves strings open',
    'strncat': 'snprintf into the rest of the buffer',
    'sprintf': 'snprintf',
    'vsprintf': 'vsnprintf',
    'gets': 'fgets or getline',
    'atoi': 'strtoll with errno and end pointer checked',
    'atol': 'strtoll with errno and end pointer checked',
    'atoll': 'strtoll with errno and end pointer checked',
    'atof': 'strtod with errno and end pointer checked',
    'rand': 'a generator seeded from an option, so that a run can be repeated',
    'random': 'a generator seeded from an option, so that a run can be repeated',
    'srand': 'a generator seeded from an option, so that a run can be repeated',
    'strtok': 'strsep or strtok_r',
    'alloca': 'a bounded array, or memory taken at start',
    'tmpnam': 'mkdtemp or mkstemp',
    'tempnam': 'mkdtemp or mkstemp',
    'mktemp': 'mkdtemp or mkstemp',
    'system': 'posix_spawn with an argument list',
    'popen': 'posix_spawn with an argument list',
    'signal': 'sigaction',
    'usleep': 'nanosleep',
    'localtime': 'localtime_r',
    'gmtime': 'gmtime_r',
    'ctime': 'strftime',
    'asctime': 'strftime',
    'gethostbyname': 'getaddrinfo',
    'longjmp': 'a result code',
}
ALLOCATORS = ('malloc', 'calloc', 'realloc', 'reallocarray', 'aligned_alloc', 'posix_memalign', 'memalign', 'strdup', 'strndup', 'asprintf')
ALLOCATION_FREE = {'engine', 'ring'}

CALL = re.compile(r'(?<![\w.>])(\w+)\s*\(')
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
ATOMIC = re.compile(r'\b(?:atomic_\w+|_Atomic|__atomic_\w+|__sync_\w+)\b|<stdatomic\.h>')
FENCE = re.compile(r'\b(?:atomic_thread_fence|__atomic_thread_fence|__sync_synchronize)\b')
# Written in pieces, so that this file does not break its own rules.
UNFINISHED = re.compile(r'\b(?:' + '|'.join(('TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X')) + r')\b')
MACHINE_PATH = re.compile(r'(?<![\w.~})/$-])/(?:' + '|'.join(('wo' + 'rk', 'ro' + 'ot', 'ho' + 'me')) + r')(?=[/\s"\'`:;,)]|$)', re.M)
ENUM_RESULT = re.compile(r'enum hf_result \{(.*?)\n\};', re.S)
RESULT = re.compile(r'^\s*HF_(\w+)\s*=\s*(\d+)\s*,', re.M)
RESULT_ROW = re.compile(r'^\|\s*(\d+)\s*\|\s*`?([A-Z][A-Z0-9_]*)`?\s*\|', re.M)
LINT_OK = 'lint-ok:'


def tracked_files(root):
    # A check machine may run as another user than the one who cloned.
    listed = subprocess.run(['git', '-c', 'safe.directory=*', 'ls-files', '-z'], cwd=root, stdout=subprocess.PIPE, check=True).stdout
    return [name for name in listed.decode().split('\0') if name and os.path.isfile(os.path.join(root, name))]


class Tree:
    """Tracked files below root, read once."""

    def __init__(self, root, paths=None):
        self.root = root
        self.paths = sorted(tracked_files(root) if paths is None else paths)
        self.texts = {}
        self.bare_texts = {}

    def text(self, path):
        if path not in self.texts:
            try:
                with open(os.path.join(self.root, path), encoding='utf-8') as file:
                    self.texts[path] = file.read()
            except (UnicodeDecodeError, FileNotFoundError):
                self.texts[path] = ''
        return self.texts[path]

    def bare(self, path):
        """The text with comments and the insides of strings blanked, lines kept."""
        if path not in self.bare_texts:
            self.bare_texts[path] = blank_comments(self.text(path))
        return self.bare_texts[path]

    def c_files(self):
        return [path for path in self.paths if path.endswith(('.c', '.h'))]

    def excused(self, path, line):
        lines = self.text(path).splitlines()
        return any(LINT_OK in lines[at] for at in (line - 1, line - 2) if 0 <= at < len(lines))

    def by_first_line(self, pattern):
        return [path for path in self.paths if re.match(pattern, self.text(path).split('\n', 1)[0])]


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank_comments(text):
    def blank(found):
        token = found.group(0)
        if token[0] in '"\'':
            return token[0] + ' ' * (len(token) - 2) + token[0]
        return re.sub(r'[^\n]', ' ', token)
    return TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count('\n', 0, offset) + 1


def folder_of(path):
    return path.split('/', 1)[0] if '/' in path else ''


def check_calls(tree):
    for path in tree.c_files():
        bare = tree.bare(path)
        for found in CALL.finditer(bare):
            name, line = found.group(1), line_of(bare, found.start())
            if name in BANNED_CALLS and not tree.excused(path, line):
                yield path, line, f'{name}() is banned; use {BANNED_CALLS[name]}'
            if name in ALLOCATORS and folder_of(path) in ALLOCATION_FREE and not tree.excused(path, line):
                yield path, line, (f'{name}() in {folder_of(path)}/: its memory is handed to it at start; if this runs only at '
                                   f'start, say so with a comment "{LINT_OK} <reason>"')


def check_atomics(tree):
    for path in tree.c_files():
        bare = tree.bare(path)
        rules = [(FENCE, 'ThreadSanitizer does not understand stand-alone fences; put the order on the access itself')]
        if path != 'ring/atomics.h':
            rules.append((ATOMIC, 'atomics live in ring/atomics.h alone; use its operations'))
        for pattern, advice in rules:
            for found in pattern.finditer(bare):
                line = line_of(bare, found.start())
                if not tree.excused(path, line):
                    yield path, line, f'{found.group(0)}: {advice}'
                    break


def may_include(path, target):
    """Whether the file at path may include the header target; both from the root."""
    here, there = folder_of(path), folder_of(target)
    if there in PRODUCT and path.startswith(LIFTABLE):
        return target.startswith(LIFTABLE) or target in LIFTABLE_EXTRA
    if path.startswith(ORACLE):
        return there == 'wire' or target.startswith(ORACLE)
    if there not in PRODUCT or here == there:
        return True
    if target in DEVICE_EXTRA and here == 'client':
        return os.path.basename(path).startswith('dpdk')
    if target == REPLAY and here == 'client':
        return os.path.basename(path).startswith('offline')
    if there == 'server':
        return path.startswith(('tests/server/', 'tests/end/', 'tests/fuzz/', 'tests/failnth/', 'tests/sim/', 'bench/'))
    if here not in IMPORTS:
        return True
    extra = OFFLINE_EXTRA if os.path.basename(path).startswith('offline') and here == 'client' else set()
    return there in IMPORTS[here] | extra


def check_imports(tree):
    known = set(tree.paths)
    for path in tree.c_files():
        text = tree.text(path)
        for found in INCLUDE.finditer(text):
            target, line = found.group(1), line_of(text, found.start(1))
            beside = os.path.normpath(os.path.join(os.path.dirname(path), target))
            target = beside if beside in known or target.startswith('..') else target
            here, there = folder_of(path), folder_of(target)
            if not may_include(path, target) and path.startswith(ORACLE):
                yield path, line, f'{ORACLE} may not include {target}: it judges by the documents and knows wire/ alone'
            elif not may_include(path, target):
                allowed = ' '.join(sorted(IMPORTS.get(here, set()) - {here})) or 'nobody'
                yield path, line, f'{here}/ may not include {target}: imports point one way, {here}/ knows {allowed}'
            if target.endswith('_p.h') and there != here and not path.startswith(f'tests/{there}/'):
                yield path, line, f'{target} is private to {there}/; include its public header'


def check_readmes(tree):
    folders = {folder_of(path) for path in tree.paths if not path.endswith('meson.build')}
    for folder in sorted(folders & CODE_FOLDERS):
        readme = f'{folder}/README.md'
        if readme not in tree.paths:
            yield readme, 1, f'missing: say in at most {README_LINES_MAX} lines what {folder}/ is, who owns what, where to begin'
    for path in tree.paths:
        if os.path.basename(path) == 'README.md' and '/' in path and folder_of(path) != 'docs':
            lines = len(tree.text(path).splitlines())
            if lines > README_LINES_MAX:
                yield path, README_LINES_MAX + 1, f'{lines} lines; a README has at most {README_LINES_MAX}: move the rest to docs/'


def check_paths(tree):
    for path in tree.paths:
        text = tree.text(path)
        for found in MACHINE_PATH.finditer(text):
            line = line_of(text, found.start())
            if not tree.excused(path, line):
                yield path, line, f'{found.group(0)}: a path of one machine; make it relative, an option or $TMPDIR'


def check_lines(tree):
    for path in tree.paths:
        code = path.endswith('.py') or tree.text(path).startswith('#!')
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if UNFINISHED.search(line):
                yield path, number, 'unfinished work is no part of the tree: do it, or open an issue'
            if code and len(line) > COLUMNS_MAX:
                yield path, number, f'{len(line)} columns; break it at {COLUMNS_MAX}'


def check_results(tree):
    header, page = 'wire/result.h', 'docs/protocol.md'
    for path, writes in ((header, 'the result codes'), (page, 'the table of result codes')):
        if path not in tree.paths:
            yield path, 1, f'missing: it holds {writes}'
            return
    text = tree.text(header)
    block = ENUM_RESULT.search(text)
    if not block:
        yield header, 1, 'enum hf_result not found; it numbers the result codes, one `HF_NAME = N,` a line'
        return
    coded = {}
    for found in RESULT.finditer(blank_comments(text), block.start(1), block.end(1)):
        line, number = line_of(text, found.start(1)), int(found.group(2))
        if number in coded:
            yield header, line, f'{number} is taken by {coded[number][0]}; a result code is numbered once'
        coded[number] = (found.group(1), line)
    begin, end = section_of_results(tree.text(page))
    if begin is None:
        yield page, 1, 'no heading with "Result codes"; below it stands the table that is checked against ' + header
        return
    rows = {}
    for found in RESULT_ROW.finditer(tree.text(page), begin, end):
        line, number = line_of(tree.text(page), found.start()), int(found.group(1))
        if coded.get(number, ('',))[0] != found.group(2):
            yield page, line, f'`| {number} | {found.group(2)} |` is not in {header}; the header is right'
        rows[number] = found.group(2)
    for number, (name, line) in sorted(coded.items()):
        if number not in rows:
            yield header, line, f'{name} = {number} has no row `| {number} | {name} |` under "Result codes" in {page}; add it'


def section_of_results(text):
    """Begin and end of the section whose heading names the result codes, up to the next heading as high or higher."""
    heading = re.search(r'^(#+)\s.*\bresult codes?\b.*$', text, re.M | re.I)
    if not heading:
        return None, None
    following = re.compile(r'^#{1,%d}\s' % len(heading.group(1)), re.M).search(text, heading.end())
    return heading.end(), following.start() if following else len(text)


def check_registered(tree):
    for path in tree.paths:
        if path.startswith('tests/') and path.endswith('_test.py'):
            listing = os.path.dirname(path) + '/meson.build'
            if os.path.basename(path) not in tree.text(listing):
                yield path, 1, f'{listing} does not run this test; add it'


def check_python(tree):
    pythons = {path for path in tree.paths if path.endswith('.py')} | set(tree.by_first_line(r'#!.*python3'))
    for path in sorted(pythons):
        try:
            ast.parse(tree.text(path), path)
        except SyntaxError as error:
            yield path, error.lineno or 1, f'not Python: {error.msg}'


CHECKS = {
    'calls': check_calls,
    'atomics': check_atomics,
    'imports': check_imports,
    'readmes': check_readmes,
    'paths': check_paths,
    'lines': check_lines,
    'results': check_results,
    'registered': check_registered,
    'python': check_python,
}

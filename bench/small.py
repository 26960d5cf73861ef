"""The benches that are one program each, which does its own runs and medians: ring and log."""

import json
import signal
import subprocess

from engine import Failed, dies_with_us, program, scratch
from rows import adopted


def run_program(printer, bench, command):
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=dies_with_us(signal.SIGTERM)) as process:
        try:
            for line in process.stdout:
                printer.add(adopted(bench, json.loads(line)))
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise Failed(f'{command[0]}: exit {process.returncode}')


def run_ring(printer, quick):
    run_program(printer, 'ring', [program('ring_bench'), *(['--quick'] if quick else [])])


def run_log(printer, quick):
    with scratch('bench-data') as data:
        run_program(printer, 'log', [program('log_bench'), *(['--quick'] if quick else []), '--dir', data])

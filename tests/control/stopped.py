"""Threads of a running engine, stopped and looked at by ptrace. All of a thread's calls must come from one thread of ours."""

import ctypes
import os

SEIZE, INTERRUPT, CONT, DETACH, GETREGS = 0x4206, 0x4207, 7, 17, 12  # sys/ptrace.h
WALL, RIP, REGISTERS = 0x40000000, 16, 27  # linux/wait.h, sys/user.h of x86-64


def threads_of(engine):
    """name -> tids"""
    names, tasks = {}, f'/proc/{engine.process.pid}/task'
    for task in os.listdir(tasks):
        with open(f'{tasks}/{task}/comm', encoding='utf-8') as comm:
            names.setdefault(comm.read().strip(), []).append(int(task))
    return names


class Stopped:
    """One thread; it runs until stop()."""

    def __init__(self, tid):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long
        self.tid = tid
        self.ask(SEIZE)

    def ask(self, request, data=None):
        if self.libc.ptrace(request, self.tid, None, data) != 0:
            raise OSError(ctypes.get_errno(), f'ptrace {request:#x}: {os.strerror(ctypes.get_errno())}')

    def stop(self):
        self.ask(INTERRUPT)
        os.waitpid(self.tid, WALL)

    def address(self):
        """Where it stands now; it runs on."""
        registers = (ctypes.c_ulonglong * REGISTERS)()
        self.stop()
        self.ask(GETREGS, ctypes.cast(registers, ctypes.c_void_p))
        self.ask(CONT)
        return registers[RIP]

    def go(self):
        """A stopped thread is left alone."""
        self.ask(DETACH)

"""Huge pages for what is measured. They are the machine's: root is given some for the time of a bench."""

import contextlib
import ctypes
import os

PAGES = 256  # of 2 MiB: the packets of an engine and of its load, with room
COUNT = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'
FREE = '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages'
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2


def number(path):
    with open(path, encoding='ascii') as file:
        return int(file.read())


def change(pages):
    count = number(COUNT)
    with open(COUNT, 'w', encoding='ascii') as file:
        file.write(str(count + pages))


def reserve():
    """-> how many pages were added so that enough are free; None: that is not ours to do"""
    try:
        added = max(0, PAGES - number(FREE))
        change(added)
    except OSError:
        return None
    return added


def mount(directory):
    """A file system of huge pages that this process and those it starts see alone, and that goes with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    return (libc.unshare(CLONE_NEWNS) == 0 and libc.mount(b'none', b'/', None, MS_REC | MS_PRIVATE, None) == 0 and
            libc.mount(b'none', os.fsencode(directory), b'hugetlbfs', 0, None) == 0)


def unmount(directory):
    ctypes.CDLL(None).umount2(os.fsencode(directory), MNT_DETACH)


@contextlib.contextmanager
def huge_pages(directory):
    """-> whether there are enough, with a file system of them in `directory`, which is empty"""
    added = reserve()
    try:
        yield added is not None and number(FREE) >= PAGES and mount(directory)
    finally:
        unmount(directory)
        if added:
            change(-added)

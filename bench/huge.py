"""Huge pages for what is measured. They are the machine's: root is given some for the time of a bench."""

import contextlib
import ctypes
import os

PAGES = 256  # of 2 MiB: the packets of an engine and of its load, with room
COUNT = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'
FREE = '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages'
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
LIBC = ctypes.CDLL(None)


def number(path):
    with open(path, encoding='ascii') as file:
        return int(file.read())


def change(pages):
    """So many more, or fewer. -> how many more there are"""
    count = number(COUNT)
    with open(COUNT, 'w', encoding='ascii') as file:
        file.write(str(count + pages))
    return number(COUNT) - count


def reserve():
    """-> how many were added so that enough are free; 0: there were enough, none are left, or it is not ours to do"""
    try:
        return change(max(0, PAGES - number(FREE)))
    except OSError:
        return 0


def enough():
    try:
        return number(FREE) >= PAGES
    except OSError:
        return False


def mount(directory):
    """A file system of huge pages that this process and those it starts see alone, and that goes with them."""
    return (LIBC.unshare(CLONE_NEWNS) == 0 and LIBC.mount(b'none', b'/', None, MS_REC | MS_PRIVATE, None) == 0 and
            LIBC.mount(b'none', os.fsencode(directory), b'hugetlbfs', 0, None) == 0)


def unmount(directory):
    LIBC.umount2(os.fsencode(directory), MNT_DETACH)


@contextlib.contextmanager
def huge_pages(directory):
    """-> whether there are enough, and whether there is a file system of them, too, in `directory`, which is empty"""
    added = reserve()
    try:
        found = enough()
        yield found, found and mount(directory)
    finally:
        unmount(directory)
        if added:
            change(-added)

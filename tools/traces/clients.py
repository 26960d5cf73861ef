"""Runs the ordinary clients of the registries, bounded in time, and says in one sentence why one failed."""

import os
import shutil
import signal
import subprocess


UNREACHABLE = ("connection broken by", "ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT", "ENETUNREACH")


class SourceError(Exception):
    """A source that cannot be had here and now; the text says why."""


def need(program, package):
    if shutil.which(program) is None:
        raise SourceError(f"{program} is not installed (apt-get install {package})")


def stop_group(process):
    """Ends a process started in a session of its own, with all that it started."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def first_complaint(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    words = (errors or lines or ["it said nothing"])[0][:300]
    return f"the registry cannot be reached ({words})" if any(sign in text for sign in UNREACHABLE) else words


def run(command, timeout_s, cwd):
    """Runs to the end. -> stdout; SourceError on a failure or when the time is over."""
    what = " ".join(os.path.basename(word) for word in command[:1]) + " " + " ".join(command[1:4])
    try:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace", start_new_session=True)
    except OSError as error:
        raise SourceError(f"{what}: {error}") from error
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise SourceError(f"{what}: not done after {timeout_s} s") from None
    finally:
        stop_group(process)
        process.stdout.close()
        process.stderr.close()
    if process.returncode != 0:
        raise SourceError(f"{what}: exit {process.returncode}: {first_complaint(err or out)}")
    return out

#!/usr/bin/env python3
"""without_memfd_secret.py PROGRAM ARGUMENT...: runs a program on a kernel that has no memfd_secret(2), as far as it can tell."""
import ctypes, os, struct, sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
MEMFD_SECRET, ENOSYS = 447, 38
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

# linux/filter.h: load the number of the call; if it is memfd_secret's, ENOSYS, else go on.
program = b"".join(struct.pack("HBBI", *step) for step in [
    (0x20, 0, 0, 0), (0x15, 0, 1, MEMFD_SECRET), (0x06, 0, 0, ERRNO | ENOSYS), (0x06, 0, 0, ALLOW)])
code = ctypes.create_string_buffer(program)
filter = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0):
    sys.exit(f"no seccomp filter: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])

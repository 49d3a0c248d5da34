"""What the disk alone reaches: append and fdatasync, without any server."""

import os
import time

from servers import Failure


def appends_per_second(directory, size, count=1000):
    """How often per second a file grows by `size` octets that are then synced, one after the other."""
    path = directory / "floor"
    block = b"x" * size
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        began = time.monotonic()
        for _ in range(count):
            if os.write(fd, block) != size:
                raise Failure(f"{path}: short write")
            os.fdatasync(fd)
        return count / (time.monotonic() - began)
    finally:
        os.close(fd)
        path.unlink()


def overwrites_per_second(directory, size, count=1000):
    """The same into room that the file already has, as a queue that uses its segments again does."""
    path = directory / "floor"
    block = b"x" * size
    room = 16 << 20
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for at in range(0, room, 1 << 20):
            os.pwrite(fd, b"\0" * (1 << 20), at)
        os.fsync(fd)
        began = time.monotonic()
        for number in range(count):
            os.pwrite(fd, block, number * size % (room - size))
            os.fdatasync(fd)
        return count / (time.monotonic() - began)
    finally:
        os.close(fd)
        path.unlink()

"""Room on the disk for a video that OpenCV writes, which tells nobody when a write fails.

FFmpeg writes nothing more after its first failure, neither the index of an MP4 file, without which no player opens it,
nor the number of frames. So blocks of the disk are allocated before they are needed, and the video ends while there is
room for the rest of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of <linux/falloc.h>: allocate beyond the end, and leave the end where it is
_CHUNK = 16 << 20  # bytes to allocate at once
_NOT_HERE = (errno.EOPNOTSUPP, errno.ENOSYS)  # of file systems that cannot allocate ahead


class Room:
    """Room for the file ``path``, which another library is writing.

    :raises OSError: if it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._end = 0  # the blocks before this byte are allocated
        self._allocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
        if self._allocate is not None:
            self._allocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def ensure(self, ahead: int) -> None:
        """Make sure that the file can grow by ``ahead`` bytes.

        :raises OSError: if it cannot.
        """
        need = os.fstat(self._handle).st_size + ahead
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and need > limit:
            raise _error(errno.EFBIG)
        if self._allocate is None:
            free = os.fstatvfs(self._handle)
            if free.f_bavail * free.f_frsize < ahead:
                raise _error(errno.ENOSPC)
        elif need > self._end:
            code = self._extend(need + _CHUNK)
            if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                code = self._extend(need)
            if code in _NOT_HERE:
                self._allocate = None
                self.ensure(ahead)
            elif code:
                raise _error(code)

    def _extend(self, end: int) -> int:
        """Allocate the blocks before ``end``; return 0 or an error number."""
        assert self._allocate is not None
        while self._allocate(self._handle, _KEEP_SIZE, self._end, end - self._end):
            code = ctypes.get_errno()
            if code != errno.EINTR:
                return code
        self._end = end
        return 0

    def close(self) -> None:
        """Give back the blocks beyond the end of the file."""
        try:
            os.ftruncate(self._handle, os.fstat(self._handle).st_size)
        finally:
            os.close(self._handle)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))

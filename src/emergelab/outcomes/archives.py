"""Zip archives from elsewhere, read member by member within bounds."""

from __future__ import annotations

import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from types import ModuleType, TracebackType

from emergelab.outcomes.logs import LogError

_MOST = 128 << 20  # bytes of one member; one frame of Inspect's Zstandard members holds 200 MiB
_MOST_MEMBERS = 2_000_000
# Python unpacks all that it has read of a packed member, as much as it may be: a step of 4 KiB is 128 MiB at most.
_STEP = 4096


class Archive:
    """An open zip archive, also one with members compressed by Zstandard."""

    def __init__(self, path: Path, most: int = _MOST) -> None:
        """Open the archive; `most` bytes of a member are read. Raises LogError."""
        self._path = path
        module = _zipfile()
        try:
            self._zip = module.ZipFile(path)
        except (module.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise LogError(
                f"{str(path)[:200]} is no whole zip archive: {error}. It may be cut off. Copy it again, or leave it "
                "out."
            ) from error
        self.most = most
        self.names = tuple(dict.fromkeys(self._zip.namelist()))
        if len(self.names) > _MOST_MEMBERS:
            self._zip.close()
            raise LogError(
                f"{str(path)[:200]} holds {len(self.names):,} files. At most {_MOST_MEMBERS:,} are read. Give smaller "
                "logs."
            )

    def __enter__(self) -> Archive:  # noqa: PYI034 - beartype knows no Self here
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def readable(self, name: str) -> bool:
        """Whether a member says that it is small enough."""
        return self._zip.getinfo(name).file_size <= self.most

    def read(self, name: str) -> bytes:
        """Return a member's bytes. Raises LogError for too many, whatever the archive says of them, and for damage."""
        try:
            with self._zip.open(name) as member:
                content = self._bounded(member)
        except NotImplementedError as error:
            raise LogError(
                f"{str(self._path)[:200]} is compressed with Zstandard, which this Python cannot unpack. Python 3.14 "
                "can, and others with the package backports.zstd: pip install backports.zstd."
            ) from error
        except (_zipfile().BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise self._damaged(name, str(error)) from error
        except Exception as error:
            # Zstandard's own error has another class in each of its homes.
            if type(error).__name__ != "ZstdError":
                raise
            raise self._damaged(name, str(error)) from error
        if len(content) > self.most:
            raise LogError(
                f"{str(self._path)[:200]} unpacks {name[:100]} to more than {self.most:,} bytes. A file of a log is "
                "read up to there. Leave this log out."
            )
        return content

    def _bounded(self, member: BufferedIOBase) -> bytes:
        """Return a member's first bytes, one more than are allowed. Each step unpacks a few packed kilobytes."""
        pieces: list[bytes] = []
        left = self.most + 1
        while left > 0 and (piece := member.read(min(_STEP, left))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _damaged(self, name: str, problem: str) -> LogError:
        return LogError(
            f"{str(self._path)[:200]} is damaged at {name[:100]}: {problem[:150]}. Copy it again, or leave it out."
        )


def _zipfile() -> ModuleType:
    """Return a module `zipfile` that knows Zstandard, where there is one: Python's own since 3.14."""
    try:
        from backports.zstd import zipfile as knowing  # noqa: PLC0415
    except ImportError:
        return zipfile
    return knowing

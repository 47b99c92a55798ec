"""Files on disk: text and JSON, atomic writing, paths that stay in their folder, images.

Pillow knows dozens of formats, and some of its readers start programs (EPS runs Ghostscript), raise
whatever they like, or are hardly ever used. So every image is opened here, by `opened`, in one of
`FORMATS` only, and any error of a decoder is a damaged file.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import io
import json
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

# A wrong argument of a command is answered from the list of models alone; so what opens images
# imports NumPy and Pillow itself.
if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

_DRIVE = re.compile(r"^[A-Za-z]:")

_SHOWN = 60  # characters of a wrong value that an error message repeats

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, by Pillow's names."""

MAX_PER_BYTE = 10_000
"""Pixels that a byte of a large file can stand for: a blank PNG of one bit has 8,256 at most."""

LARGE = 2**24
"""Pixels from which on `MAX_PER_BYTE` counts; smaller images cost little."""

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Endings, in lower case, of files that count as images."""


class DataError(ValueError):
    """A ValueError whose message names the file and the entry in it."""


def show(value: object) -> str:
    """Return a short repr of a wrong value for an error message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def read_text(path: str | os.PathLike) -> str:
    """Read a text file in UTF-8, or in UTF-16 with its byte order mark.

    Args:
        path: the file, as editors, spreadsheets and .NET programs save it.

    Returns:
        The text without a byte order mark; ends of lines as they are.

    Raises:
        ValueError: names the file, and how to convert one in another encoding.
        OSError: the file cannot be read.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not text in UTF-8 ({error}). If it is text in the encoding of an older "
            f"system, convert it, for instance: iconv -f GB18030 -t UTF-8 {path} > new"
        ) from None


def parse_json(path: str | os.PathLike) -> Any:
    """Read a JSON file of any top level.

    Raises:
        ValueError: not UTF-8, or not JSON (the message has line and column).
        OSError: the file cannot be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{os.fspath(path)}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{os.fspath(path)}: not a JSON file ({error})") from error


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON file whose top level is an object.

    Raises:
        ValueError: as `parse_json`, or another top level.
        OSError: the file cannot be read.
    """
    data = parse_json(path)
    if not isinstance(data, dict):
        raise DataError(
            f"{os.fspath(path)}: the top level must be an object, got {type(data).__name__}"
        )
    return data


@contextmanager
def atomic_writer(
    path: str | os.PathLike, mode: str = "w", *, sync: bool = True, make_folder: bool = True
) -> Iterator[Any]:
    """Open a temporary neighbour of `path` that takes its name only when the block succeeds.

    Args:
        path: the file.
        mode: "w" (UTF-8 text) or "wb".
        sync: whether to wait until the disk has the data, so that the file also survives a loss of
            power; slow for many small files.
        make_folder: make the folder of the file if need be; False where a folder that is missing
            is more likely a mistyped one.

    Raises:
        OSError: names the file: it cannot be written, or the disk is full. What was there before is
            untouched.
    """
    path = os.fspath(path)
    with naming(path):
        folder = os.path.dirname(path) or "."
        if make_folder:
            os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        yield from _written(handle, temporary, path, mode, sync)
        if sync:
            _sync_folder(folder)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Errors of the block that name no file, such as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def _written(handle: int, temporary: str, path: str, mode: str, sync: bool) -> Iterator[Any]:
    try:
        # Ends of lines stay as they are written, also on Windows.
        text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with os.fdopen(handle, mode, **text) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only the owner can read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(folder: str | os.PathLike, name: str = "the output folder") -> None:
    """Make a folder, and make sure that files can be written there.

    Args:
        folder: made if need be.
        name: what the message calls it.

    Raises:
        OSError: it cannot be made or written, or the disk is full; the message names it.
    """
    folder = os.fspath(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"{name} {folder!r} cannot be written: {error.strerror or error}; "
            "choose another folder or free some space",
        ) from error


@contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Keep other programs that ask for the same lock out of an output folder.

    The lock belongs to the process and ends with it, however it ends; the hidden file stays. Where
    the system cannot lock files (Windows), nothing is locked.

    Args:
        folder: made if need be.

    Raises:
        OSError: another program has the lock; the message names the folder and the program.
    """
    if fcntl is None:
        yield
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise OSError(
                error.errno,
                f"{os.fspath(folder)}: another program is writing there "
                f"({file.read(200).strip() or 'unknown'}); wait, or choose another folder",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}")
        file.flush()
        yield


def _sync_folder(folder: str) -> None:
    """Wait until the disk has a folder's names; where folders cannot be opened (Windows), no."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write text atomically, in UTF-8."""
    with atomic_writer(path) as file:
        file.write(text)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_writer(path, "wb") as file:
        file.write(data)


def write_json(path: str | os.PathLike, data: dict | list, *, indent: int | None = None) -> None:
    """Write JSON atomically; NaN and infinity are refused with a ValueError.

    Args:
        path: the file.
        data: what it is to hold.
        indent: spaces of each level, for files that people read; None: everything in one line.
    """
    # json.dumps is several times faster than json.dump, which never uses the C encoder.
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, indent=indent)
    write_text(path, text if indent is None else text + "\n")


def read_bytes(path: str | os.PathLike, most: int = -1) -> bytes:
    """Read a file, or its first bytes.

    Args:
        path: the file.
        most: how many bytes at most; -1: all.
    """
    with open(path, "rb") as file:
        return file.read(most)


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file of any size, as hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def join_path(image_root: str | os.PathLike, file_name: str) -> str:
    """Join a file name of a data set to its folder, never leaving the folder.

    The folder itself may be a symbolic link; a link below it is followed only if it stays inside.

    Args:
        image_root: the folder.
        file_name: relative to it, with forward slashes.

    Returns:
        The path, not necessarily of an existing file.

    Raises:
        ValueError: empty, absolute, with a drive letter, a backslash, a NUL or a ".." component, or
            a symbolic link that leads out of the folder.
    """
    parts = file_name.split("/")
    if not file_name or "\0" in file_name or "\\" in file_name:
        raise ValueError(f"file name must be a path with forward slashes, got {show(file_name)}")
    if file_name.startswith("/") or _DRIVE.match(file_name) or ".." in parts:
        raise ValueError(f"file name must stay inside the image folder, got {show(file_name)}")
    root, path = os.fspath(image_root), os.fspath(image_root)
    for part in parts:
        if part not in ("", "."):
            path = os.path.join(path, part)
            if os.path.islink(path):
                _check_link(path, root)
    return path


def _check_link(path: str, root: str) -> None:
    inside, target = os.path.realpath(root), os.path.realpath(path)
    if target != inside and not target.startswith(os.path.join(inside, "")):
        raise ValueError(
            f"{path} is a link that leads out of the folder {root}; if you trust it, give the "
            f"folder that it leads to"
        )


def resolve_inside(root: str | os.PathLike, file_name: str) -> Path:
    """Path of a named file below a folder, to read it or to write it.

    The folder itself may be a symbolic link; a link below it is followed only if it stays inside.

    Args:
        root: the folder.
        file_name: name relative to it, with forward slashes.

    Returns:
        The path, not necessarily of an existing file.

    Raises:
        ValueError: empty, absolute, a drive letter, a backslash, a NUL, a ".." component, or a
            symbolic link that leads out of the folder.
    """
    if not isinstance(file_name, str):
        raise ValueError(f"a file name must be text, got {file_name!r:.60}")
    return Path(join_path(root, file_name))


def list_images(folder: str | os.PathLike) -> list[str]:
    """Names of the images in a folder and below it, sorted, relative, with forward slashes.

    Hidden files and folders are left out, and so are links: folders that are links are not entered,
    files that are links count if they stay inside. A name that is not UTF-8 is left out with a
    warning, because no file of results could hold it.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    found = []
    for here, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or not name.lower().endswith(IMAGE_ENDINGS):
                continue
            relative = (Path(here) / name).relative_to(root).as_posix()
            if not _is_utf8(relative):
                logger.warning("%s: left out, its name %a is not UTF-8", root, relative)
            elif _stays_inside(root, relative):
                found.append(relative)
    return sorted(found)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _stays_inside(root: Path, name: str) -> bool:
    try:
        return resolve_inside(root, name).is_file()
    except ValueError:  # a link that leads out, or a backslash in the name
        return False


def relative_name(file_name: str, image_root: str | os.PathLike | None) -> str:
    """Return `file_name` as a file shall hold it: relative to `image_root`, forward slashes.

    Raises:
        ValueError: the file is not inside `image_root`.
    """
    if image_root is not None:
        root = os.path.abspath(os.fspath(image_root))
        file_name = os.path.relpath(os.path.abspath(file_name), root).replace(os.sep, "/")
        if file_name.split("/")[0] == "..":
            raise ValueError(f"{file_name!r} is not inside the image folder {root!r}")
    return file_name


@contextmanager
def opened(
    source: str | os.PathLike | BinaryIO,
    name: str | None = None,
    *,
    formats: tuple[str, ...] = FORMATS,
) -> Iterator[Image.Image]:
    """Open an image, not yet decoded; what goes wrong in the block is the file's fault.

    Args:
        source: a file, or its content.
        name: what messages call it; by default its path.
        formats: Pillow's names of the formats that are wanted.

    Raises:
        ValueError: names the file: another format, damaged, more pixels than Pillow allows
            (`PIL.Image.MAX_IMAGE_PIXELS` twice: 179 million), or so many for so few bytes that the
            file cannot hold them; a folder or a device.
        FileNotFoundError: there is no such file.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, str | os.PathLike):
        name = os.fspath(source) if name is None else name
        if not os.path.isfile(source):
            if not os.path.lexists(source):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            raise ValueError(f"{name}: not a readable image: no file, but a folder or device")
    try:
        with Image.open(source, formats=formats) as image:
            _check_size(image, source)
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not a readable image: no {', '.join(formats)} file") from None
    except Exception as error:  # the decoders raise nearly everything
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name}: not a readable image: {reason}") from None


def _check_size(image: Image.Image, source: str | os.PathLike | BinaryIO) -> None:
    if isinstance(source, str | os.PathLike):
        size = os.path.getsize(source)
    else:
        place = source.tell()
        size = source.seek(0, os.SEEK_END)
        source.seek(place)
    pixels = image.width * image.height
    if pixels > LARGE and pixels > MAX_PER_BYTE * size:
        raise ValueError(f"it claims {image.width} x {image.height} pixels in {size} bytes")


def load_image(path: str | os.PathLike, *, content: bytes | None = None) -> np.ndarray:
    """Return an image as it is meant to be seen.

    The rotation that a camera noted (EXIF) is applied. 16-bit grey is divided by 256; grey is
    repeated; what is transparent shows its colour, without the transparency. Of several frames or
    pages the first counts.

    Args:
        path: a file in one of `FORMATS`.
        content: of the file, where it lies elsewhere; `path` is then its name in messages.

    Returns:
        uint8 (H, W, 3) RGB, H and W at least 1.

    Raises:
        ValueError: names the file: missing, no image, or damaged; pixels that are floats or
            beyond 16 bits, or 16-bit pixels that use 12 bits or fewer, which would become black.
    """
    import numpy as np
    from PIL import ImageOps

    source = path if content is None else io.BytesIO(content)
    try:
        with opened(source, os.fspath(path)) as file:
            pixels = ImageOps.exif_transpose(file)
            pixels.load()
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: no such image") from None
    if pixels.mode == "F":
        raise ValueError(f"{os.fspath(path)}: its pixels are floats; save it with 8 or 16 bits")
    if pixels.mode.startswith("I"):
        grey = (_sixteen_bits(np.asarray(pixels), path) // 256).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(pixels.convert("RGB")).copy()


class UnreadableImageError(ValueError):
    """An image file, or the depth map beside it, that is missing or damaged, or no image."""


def as_image(
    image: np.ndarray | str | os.PathLike[str], *, content: bytes | None = None
) -> np.ndarray:
    """Return an image as uint8 (H, W, 3) RGB, from a file or checked.

    Args:
        image: the image, or its file.
        content: as of `load_image`.

    Raises:
        UnreadableImageError: the file is damaged, or no image.
        ValueError: other values than those of an image.
        FileNotFoundError: there is no such file.
    """
    import numpy as np

    if isinstance(image, str | os.PathLike):
        if content is None and not os.path.isfile(image):
            raise FileNotFoundError(f"there is no image {os.fspath(image)}")
        try:
            return load_image(image, content=content)
        except ValueError as error:
            raise UnreadableImageError(str(error)) from error
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _sixteen_bits(values: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Return the values, if they use the range of 16 bits."""
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise ValueError(
            f"{os.fspath(path)}: its pixels go from {least} to {most}; save it with 8 or 16 bits"
        )
    if 0 < most < 4096:
        raise ValueError(
            f"{os.fspath(path)}: has 16 bits, but its largest value is {most}, as of a camera of "
            "12 bits; multiply the values so that white is 65535"
        )
    return values


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Return (width, height) of an image file from its header, as it is displayed (EXIF rotation).

    Raises:
        ValueError: names the file; it is missing or no image.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            rotated = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except FileNotFoundError as error:
        raise ValueError(f"no such image file: {path}") from error
    return (height, width) if rotated else (width, height)


def read_grey_png(path: str | os.PathLike, *, bits: tuple[int, ...]) -> np.ndarray:
    """Read a depth map that is stored as a grey image.

    Args:
        path: the file.
        bits: allowed bits per pixel, of 8 and 16.

    Returns:
        (H, W), the stored values.

    Raises:
        ValueError: names the file; it is missing, damaged, or another kind of image.
    """
    import numpy as np

    try:
        with opened(path, formats=("PNG",)) as image:
            mode = image.mode
            values = np.array(image)
    except FileNotFoundError as error:
        raise ValueError(f"no such depth map: {path}") from error
    except ValueError as error:
        raise ValueError(f"not a readable depth map: {error}") from None
    found = 16 if mode.startswith("I") else {"L": 8}.get(mode)
    if found not in bits:
        wanted = " or ".join(f"{number}-bit" for number in bits)
        raise ValueError(f"{path}: a depth map must be a {wanted} grey PNG, got mode {mode!r}")
    return values

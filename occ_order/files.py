"""File access: text and JSON, atomic writing, path traversal checks, images.

Pillow supports dozens of formats; some of its readers start programs (EPS runs Ghostscript), raise
arbitrary errors, or are rarely used. All images are therefore opened by `opened`, which accepts
only `FORMATS` and reports any error of a decoder as a damaged file.
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
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

# Invalid command-line arguments are reported with the list of models only. Functions that open
# images therefore import NumPy and Pillow themselves, to keep start-up fast.
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

_SHOWN = 60  # maximum length of a wrong value in an error message

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Supported formats, by Pillow's names."""

MAX_PER_BYTE = 10_000
"""Maximum pixels per byte of a large file: a blank 1-bit PNG has at most 8,256."""

LARGE = 2**24
"""Minimum number of pixels for the check of `MAX_PER_BYTE`; smaller images are harmless."""

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Extensions of image files, in lower case."""


class DataError(ValueError):
    """ValueError whose message names the file and the entry in it."""


def show(value: object) -> str:
    """Return a shortened repr of a wrong value for an error message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def read_text(path: str | os.PathLike) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        path: the file, as saved by editors, spreadsheets and .NET programs.

    Returns:
        The text without byte order mark; line endings are kept.

    Raises:
        ValueError: another encoding; names the file and a command for conversion.
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
    """Read a JSON file with any top-level type.

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
        ValueError: see `parse_json`, or another top-level type.
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
    """Open a temporary file that replaces `path` only if the block succeeds.

    Args:
        path: the file.
        mode: "w" (UTF-8 text) or "wb".
        sync: wait until the data are on the disk, so that the file survives a power failure; slow
            for many small files.
        make_folder: create the folder if necessary; False if a missing folder is more likely a
            typing error.

    Raises:
        OSError: the file cannot be written, or the disk is full; names it. An existing file is not
            affected.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    with naming(path), _made(folder) if make_folder else nullcontext():
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        yield from _written(handle, temporary, path, mode, sync)
        if sync:
            _sync_folder(folder)


@contextmanager
def _made(folder: str) -> Iterator[None]:
    """Create a folder if necessary; remove it again, if it is empty, when the block raises."""
    absent = [part for part in (Path(folder), *Path(folder).parents) if not part.exists()]
    os.makedirs(folder, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for part in absent:
                part.rmdir()
        raise


def copy_file(source: str | os.PathLike, path: str | os.PathLike) -> None:
    """Copy the content of a file, replacing `path` only if that succeeds.

    Raises:
        OSError: see `atomic_writer`, or `source` cannot be read.
    """
    with open(source, "rb") as file, atomic_writer(path, "wb", sync=False) as out:
        shutil.copyfileobj(file, out)


def save_png(path: str | os.PathLike, pixels: np.ndarray) -> None:
    """Write an image as PNG, replacing the file only if that succeeds.

    Args:
        path: the file; its folder is created if necessary.
        pixels: uint8 (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, or uint16 (H, W); not empty.

    Raises:
        OSError: see `atomic_writer`.
    """
    from PIL import Image

    with atomic_writer(path, "wb", sync=False) as file:
        # Twice as fast as the default level of 6; files of drawings become 7 % larger.
        Image.fromarray(pixels).save(file, format="PNG", compress_level=2)


def append_whole(file: BinaryIO, data: bytes, *, sync: bool = False) -> None:
    """Append to an unbuffered file, whose `write` may be partial: everything or nothing.

    Args:
        file: opened for writing with `buffering=0`, so that an error is raised here and not when
            the file is closed.
        data: what to append.
        sync: wait until the data are on the disk.

    Raises:
        OSError: it cannot be written, or the disk is full; the file is as long as before.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        while data:
            data = data[file.write(data) :]
        if sync:
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.truncate(end)
        raise


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Add the file name to OSErrors of the block that have none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def _written(handle: int, temporary: str, path: str, mode: str, sync: bool) -> Iterator[Any]:
    try:
        # Keep line endings as written, also on Windows.
        text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with os.fdopen(handle, mode, **text) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp creates files that only the owner can read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(folder: str | os.PathLike, name: str = "the output folder") -> None:
    """Create a folder and check that files can be written to it.

    Args:
        folder: created if necessary.
        name: name of the folder in error messages.

    Raises:
        OSError: it cannot be created or written, or the disk is full; names it.
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
    """Lock an output folder against other programs that use the same lock.

    The lock is released when the process ends in any way; the hidden lock file remains. Without
    support for file locks (Windows), nothing is locked.

    Args:
        folder: created if necessary.

    Raises:
        OSError: another program has the lock; names the folder and the program.
        ValueError: the lock file is a symbolic link to the outside of the folder.
    """
    if fcntl is None:
        yield
        return
    os.makedirs(folder, exist_ok=True)
    with open(resolve_inside(folder, ".lock"), "a+", encoding="utf-8") as file:
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
    """Sync the entries of a folder to the disk, where folders can be opened (not on Windows)."""
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
    """Write JSON atomically; NaN and infinity raise a ValueError.

    Args:
        path: the file.
        data: content.
        indent: indentation for files that people read; None = a single line.
    """
    text = _json_of(data, indent)
    write_text(path, text if indent is None else text + "\n")


@contextmanager
def growing_json(
    path: str | os.PathLike, content: Mapping[str, Any]
) -> Iterator[Callable[[str, Any], None]]:
    """Write a JSON object with lists that need not fit in memory; the bytes of `write_json`.

    Entries are collected in temporary files in the same folder, one for each list. The file is
    written when the block ends, and not if it raises.

    Args:
        path: the file.
        content: the object; entries can be added to its lists that are empty.

    Yields:
        A function that adds an entry: (key of the list, entry). NaN and infinity raise a
        ValueError.

    Raises:
        OSError: a file cannot be written, or the disk is full; names it.
    """
    folder, path = os.path.dirname(path) or ".", os.fspath(path)
    with naming(path), _made(folder), ExitStack() as stack:
        parts = {
            key: stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder))
            for key, value in content.items()
            if value == []
        }

        begun: set[str] = set()

        def add(key: str, entry: Any) -> None:
            parts[key].write((", " if key in begun else "") + _json_of(entry))
            begun.add(key)

        yield add
        with atomic_writer(path) as file:
            file.write("{")
            for k, (key, value) in enumerate(content.items()):
                file.write(f"{', ' if k else ''}{_json_of(key)}: ")
                if key not in parts:
                    file.write(_json_of(value))
                    continue
                parts[key].seek(0)
                file.write("[")
                shutil.copyfileobj(parts[key], file, 2**20)
                file.write("]")
            file.write("}")


def _json_of(value: Any, indent: int | None = None) -> str:
    # json.dumps is several times faster than json.dump, which does not use the C encoder.
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)


def read_bytes(path: str | os.PathLike, most: int = -1) -> bytes:
    """Read a file, or its first bytes.

    Args:
        path: the file.
        most: maximum number of bytes; -1 = all.
    """
    with open(path, "rb") as file:
        return file.read(most)


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file as hexadecimal digits; reads in chunks."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def join_path(image_root: str | os.PathLike, file_name: str) -> str:
    """Join a file name of a data set to its folder, without leaving the folder.

    The folder itself may be a symbolic link; links inside are followed only if they stay inside.

    Args:
        image_root: the folder.
        file_name: relative to it, with forward slashes.

    Returns:
        The path; the file need not exist.

    Raises:
        ValueError: empty, absolute, with a drive letter, a backslash, a NUL or a ".." component, or
            a symbolic link to the outside of the folder.
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
            f"{path} is a link that leads out of the folder {root}; if you trust it, pass the "
            f"folder that it points to"
        )


def resolve_inside(root: str | os.PathLike, file_name: str) -> Path:
    """Resolve a file name in a folder, for reading or writing.

    The folder itself may be a symbolic link; links inside are followed only if they stay inside.

    Args:
        root: the folder.
        file_name: name relative to it, with forward slashes.

    Returns:
        The path; the file need not exist.

    Raises:
        ValueError: empty, absolute, a drive letter, a backslash, a NUL, a ".." component, or a
            symbolic link to the outside of the folder.
    """
    if not isinstance(file_name, str):
        raise ValueError(f"a file name must be text, got {file_name!r:.60}")
    return Path(join_path(root, file_name))


def files_below(folder: str | os.PathLike, endings: Sequence[str]) -> list[Path]:
    """List the files in a folder and below with one of the endings, sorted.

    Hidden files and folders are ignored: those of macOS (``._a.json``) and Jupyter
    (``.ipynb_checkpoints``) are copies or no data. Links to the outside of the folder are skipped
    with a warning.

    Args:
        folder: a folder.
        endings: extensions in lower case, such as ".json"; case is ignored.
    """
    root = Path(folder)
    paths = [path for path in root.rglob("*") if path.suffix.lower() in endings]
    hidden = (any(part.startswith(".") for part in p.relative_to(root).parts) for p in paths)
    seen = (path for path, skip in zip(paths, hidden, strict=True) if not skip)
    return sorted(p for p in seen if _stays_inside(root, p.relative_to(root).as_posix()))


def list_images(folder: str | os.PathLike) -> list[str]:
    """List the images in a folder, recursively: sorted, relative, with forward slashes.

    Hidden files and folders and links to folders are skipped; links to files are included if they
    stay inside, and otherwise skipped with a warning. So are names that are not UTF-8, because
    results files cannot contain them.

    Raises:
        FileNotFoundError: the folder does not exist.
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
                logger.warning("%s: skipped, its name %a is not UTF-8", root, relative)
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
    """Return whether a name is a file in the folder; log a warning if it leads out of it."""
    try:
        return resolve_inside(root, name).is_file()
    except ValueError as error:  # a link to the outside, or a backslash in the name
        logger.warning("%s: skipped: %s", root, error)
        return False


def relative_name(file_name: str, image_root: str | os.PathLike | None) -> str:
    """Return `file_name` as stored in files: relative to `image_root`, with forward slashes.

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
    """Open an image without decoding it; errors in the block are reported as those of the file.

    Args:
        source: a file, or its content.
        name: name in error messages; default: the path.
        formats: accepted formats, by Pillow's names.

    Raises:
        ValueError: names the file: unsupported format, damaged, more pixels than Pillow allows
            (twice `PIL.Image.MAX_IMAGE_PIXELS`: 179 million), or too many for the size of the
            file; a folder or a device.
        FileNotFoundError: the file does not exist.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, str | os.PathLike):
        name = os.fspath(source) if name is None else name
        if not os.path.isfile(source):
            if not os.path.lexists(source):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            raise ValueError(f"{name}: not a readable image: not a file, but a folder or device")
    try:
        with Image.open(source, formats=formats) as image:
            _check_size(image, source)
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not a readable image: not a {', '.join(formats)} file") from None
    except Exception as error:  # decoders raise many kinds of errors
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
    """Load an image as uint8 RGB in display orientation.

    The EXIF orientation is applied. 16-bit grey values are divided by 256; grey is replicated to
    three channels; alpha is dropped. The first frame or page is used.

    Args:
        path: a file in one of `FORMATS`.
        content: bytes of the file if it is stored elsewhere; `path` then names it in messages.

    Returns:
        uint8 (H, W, 3) RGB, H and W at least 1.

    Raises:
        ValueError: names the file: missing, not an image, or damaged; pixels that are floats or
            exceed 16 bits, or 16-bit pixels, grey or coloured, that use at most 12 bits, which
            would become black. If they use 14 bits, a warning is logged.
    """
    import numpy as np
    from PIL import ImageOps

    source = path if content is None else io.BytesIO(content)
    try:
        with opened(source, os.fspath(path)) as file:
            halved = _is_halved(file)
            pixels = ImageOps.exif_transpose(file)
            pixels.load()
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: no such image") from None
    if pixels.mode == "F":
        raise ValueError(f"{os.fspath(path)}: its pixels are floats; save it with 8 or 16 bits")
    if pixels.mode.startswith("I"):
        grey = (_sixteen_bits(np.asarray(pixels), path) // 256).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    rgb = np.asarray(pixels.convert("RGB")).copy()
    if halved:
        _check_range(256 * int(rgb.max()) + 255, path)
    return rgb


class UnreadableImageError(ValueError):
    """Image file, or depth map of an image, that is missing, damaged or not an image."""


def as_image(
    image: np.ndarray | str | os.PathLike[str], *, content: bytes | None = None
) -> np.ndarray:
    """Return an image as uint8 (H, W, 3) RGB; loads files and validates arrays.

    Args:
        image: an array or a file.
        content: see `load_image`.

    Raises:
        UnreadableImageError: the file is damaged or not an image.
        ValueError: the array is not an image.
        FileNotFoundError: the file does not exist.
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
    """Return the values if they use the range of 16 bits, else raise a ValueError."""
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise ValueError(
            f"{os.fspath(path)}: its pixels go from {least} to {most}; save it with 8 or 16 bits"
        )
    if most:
        _check_range(most, path)
    return values


def _check_range(most: int, path: str | os.PathLike) -> None:
    """Check that 16-bit values up to `most` do not become black, which only 12 of the bits do."""
    if most < 4096:
        raise ValueError(
            f"{os.fspath(path)}: has 16 bits, but no value above {most}, as of a camera of 12 "
            "bits; multiply the values so that white is 65535"
        )
    if most < 16384:
        logger.warning(
            "%s: dark: it has 16 bits, but no value above %d, as of a camera of 14 bits",
            os.fspath(path), most,
        )  # fmt: skip


def _is_halved(file: Image.Image) -> bool:
    """Return whether Pillow drops the lower 8 of the 16 bits of the colours of an opened image."""
    for codec, _, _, form in getattr(file, "tile", ()):
        mode, *rest = form if isinstance(form, tuple) else (form,)
        if not str(mode).startswith("I") and (
            ";16" in str(mode) or (codec == "ppm" and max(rest) > 255)
        ):
            return True
    return False


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Return (width, height) of an image file in display orientation, from its header.

    Raises:
        ValueError: the file does not exist or is not an image; names it.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            rotated = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except FileNotFoundError as error:
        raise ValueError(f"no such image file: {path}") from error
    return (height, width) if rotated else (width, height)


def read_grey_png(path: str | os.PathLike, *, bits: tuple[int, ...]) -> np.ndarray:
    """Read a depth map stored as a grey image.

    Args:
        path: the file.
        bits: allowed bits per pixel, of 8 and 16.

    Returns:
        (H, W), the stored values.

    Raises:
        ValueError: the file is missing, damaged, or another kind of image; names it.
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

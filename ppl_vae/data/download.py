"""One file from the first of several mirrors that has it whole."""

from __future__ import annotations

import http.client
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from ppl_vae.errors import DataError

_TIMEOUT_SECONDS = 30
_CHUNK = 2**16
#: More than any file that is fetched here, so that a wrong address cannot fill the disk.
MAX_DOWNLOAD_BYTES = 2**28


def download(file: str, mirrors: Sequence[str], target: Path, is_genuine: Callable[[Path], bool]) -> None:
    """Fetch a file; ``target`` appears only whole and verified.

    Args:
        file: the file's name, appended to each mirror's address.
        mirrors: addresses of folders, tried in order.
        target: where the file goes; its folder is made if need be.
        is_genuine: judges the fetched file by its checksum.

    Raises:
        DataError: no mirror had the file, with each one's reason; or the folder cannot be written.
    """
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file}"
        try:
            content = _fetch(url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url} ({error or type(error).__name__})")
            continue
        if _keep(content, target, is_genuine):
            return
        failures.append(f"{url} (checksum differs)")
    raise DataError(f"{file}: expected one of its mirrors to have it, found {'; '.join(failures) or 'no mirrors'}")


def _fetch(url: str) -> bytearray:
    content = bytearray()
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
        tqdm(desc=url, total=response.length, unit="B", unit_scale=True, disable=None, leave=False) as bar,
    ):
        while piece := response.read(_CHUNK):
            content += piece
            bar.update(len(piece))
            if len(content) > MAX_DOWNLOAD_BYTES:
                raise ValueError(f"more than {MAX_DOWNLOAD_BYTES} bytes")
    # http.client lets a connection that closes early pass for the end of the file.
    if response.length:
        raise ValueError(f"the connection closed {response.length} bytes before the end")
    return content


def _keep(content: bytearray, target: Path, is_genuine: Callable[[Path], bool]) -> bool:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Its own name for each process: two downloads at once do not write into one another.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            fetched = Path(folder) / target.name
            fetched.write_bytes(content)
            genuine = is_genuine(fetched)
            if genuine:
                fetched.replace(target)
    except OSError as error:
        raise DataError(f"{target}: expected to write the downloaded file, found {error}") from None
    return genuine

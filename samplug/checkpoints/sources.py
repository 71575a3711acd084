"""Find the local file of a weight source, and download remote files."""

import re
from pathlib import Path
from typing import Any

from samplug.checkpoints.downloads import fetch_url
from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.files import first_line, local_file, shard_names

_HUB_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def fetch(source: str) -> Path:
    """Return the local file of a weight source; a remote file is downloaded into the cache first.

    Args:
        source: A path; an http(s) URL, optionally followed by ``#sha256=HEX`` or ``#md5=HEX`` (the first six digits or
            more); or ``hf://OWNER/REPO[/FILE][@REVISION]``.

    Raises:
        WeightsError: The file does not exist, the download fails, or the hash differs.
    """
    source = str(source)
    if source.startswith("hf://"):
        return _fetch_hub(source)
    if re.match("https?://", source, re.IGNORECASE):
        return fetch_url(source)
    return local_file(source)


def _fetch_hub(source: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    address, _, revision = source.removeprefix("hf://").partition("@")
    owner, _, rest = address.partition("/")
    repo, _, filename = rest.partition("/")
    if not owner or not repo:
        raise WeightsError(f"weights: {source} is not of the form hf://OWNER/REPO[/FILE][@REVISION]")
    options: Any = dict(repo_id=f"{owner}/{repo}", revision=revision or None)
    wanted = (filename,) if filename else _HUB_FILES
    failure: Exception | None = None
    for name in wanted:
        try:
            path = Path(hf_hub_download(filename=name, **options))
            if name.endswith(".safetensors.index.json"):
                for shard in shard_names(path):
                    hf_hub_download(filename=shard, **options)
            return path
        except (EntryNotFoundError, LocalEntryNotFoundError) as error:
            failure = error
        except WeightsError:
            raise
        except Exception as error:  # from the Hub, its HTTP library or the disk
            raise WeightsError(f"weights: {source} could not be fetched from the Hub: {first_line(error)}") from error
    raise WeightsError(
        f"weights: {source}: none of {', '.join(wanted)} is in the repository or in the local Hub cache: "
        f"{first_line(failure)}"  # type: ignore[arg-type]
    )

"""Models on the Hugging Face hub: OWNER/NAME, or OWNER/NAME@REVISION."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from histomend.errors import HubError, ModelNotFoundError

_NAME = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
# Never a pickle, whatever lies there.
OURS = ("*.json", "*.safetensors", "*.md")
_log = logging.getLogger(__name__)


def is_hub_name(name: str | Path) -> bool:
    """Return whether this could be the name of a model on the hub, and is no folder."""
    return bool(_NAME.fullmatch(str(name))) and not Path(name).is_dir()


def download(name: str, what: str, patterns: Sequence[str] = OURS) -> Path:
    """Return the folder of a model on the hub, downloaded unless it is in the local cache.

    Parameters
    ----------
    name : str
        OWNER/NAME, or OWNER/NAME@REVISION for a branch, a tag or a commit.
    what : str
        What is looked for, for messages: "model".
    patterns : sequence of str
        Of the files that are fetched.

    Raises
    ------
    ModelNotFoundError
        There is no such model or revision, or its licence must be agreed to first.
    HubError
        The hub cannot be reached, and the model is not in the local cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    found = _NAME.fullmatch(name)
    repo, revision = (name, None) if found is None else found.group("repo", "revision")
    _log.info("looking for %s on the Hugging Face hub", name)
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{name} is given only to those who agreed to its licence: ask for access on its page "
            "on the Hugging Face hub, log in once with `hf auth login`, and try again. Or name a "
            "folder that holds its files."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"{repo} on the Hugging Face hub has no revision {revision}. Name a branch, a tag or a "
            f"commit that is on its page, or leave @{revision} away for the newest."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"There is no folder {name}, and no {what} of that name on the Hugging Face hub. Check "
            "the name, log in with `hf auth login` if it is private, or name a folder."
        ) from error
    except Exception as error:  # Any of a network's failures.
        raise HubError(
            f"There is no folder {name}, and the {what} could not be downloaded from the Hugging "
            f"Face hub ({type(error).__name__}). Check the name and the connection, or name a "
            "folder with its files."
        ) from error

"""A repository of the Hugging Face hub, or of another that ``HF_ENDPOINT`` names: where it is, and putting files there.

All files of a push go in one commit: a repository never holds half of one. Large files that a push before it had sent
are not sent again. The token is the one that huggingface_hub knows, from ``HF_TOKEN`` or its login, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.redaction import learn
from lifealign_bench.util.text import clean

RepositoryKind = Literal["model", "dataset"]

SCHEME = "hub:"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_LONGEST = 96
_WORDS = {"model": "a model", "dataset": "a data set"}
_MOST_SAID = 300  # characters of what the hub says


@dataclass(frozen=True)
class HubPlace:
    """A repository: the user or organization that it belongs to, and its name."""

    owner: str
    name: str

    @classmethod
    def read(cls, text: str) -> HubPlace:
        """``hub:USER/NAME``.

        Raises:
            UsageError: it is something else.
        """
        owner, slash, name = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not slash or not repository_name(f"{owner}/{name}"):
            raise UsageError(
                f"{clean(text)!r} is no repository of the hub.",
                f"Write {SCHEME}USER/NAME: each of letters, digits, '-', '_' and '.', beginning with a letter or "
                f"digit, at most {_LONGEST} characters together.",
            )
        return cls(owner, name)

    @property
    def repository(self) -> str:
        """As the hub calls it: ``USER/NAME``."""
        return f"{self.owner}/{self.name}"


def repository_name(text: str) -> bool:
    """Whether ``text`` can be the ``OWNER/NAME`` of a repository of the hub."""
    parts = text.split("/")
    return (
        len(parts) == 2
        and all(_NAME.fullmatch(part) for part in parts)
        and len(text) <= _LONGEST
        and not any(odd in text for odd in ("--", ".."))
        and not text.endswith(".git")
    )


@dataclass(frozen=True)
class HubFile:
    """One file of a push.

    Args:
        path: in the repository, with slashes.
        content: its bytes, or the file that has them.
    """

    path: str
    content: bytes | Path

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Push:
    """What a repository is to hold.

    Args:
        kind: of the repository.
        files: all of them; ``README.md`` is the card.
        title: what the commit is called.
        tag: what the card is tagged with. A repository that holds files and has no such tag is somebody else's work.
        owned: patterns of paths that only a push writes: what is there of them and is not among ``files`` goes.
        notes: what a reader should know before it is pushed.
    """

    kind: RepositoryKind
    files: tuple[HubFile, ...]
    title: str
    tag: str
    owned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The text of its card."""
        (found,) = (file.content for file in self.files if file.path == "README.md")
        return found.decode("utf-8") if isinstance(found, bytes) else found.read_text(encoding="utf-8")


def address_of(place: HubPlace, kind: RepositoryKind) -> str:
    """Where a browser finds the repository."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{place.repository}"


def send(push: Push, place: HubPlace, private: bool = False) -> str:
    """Make the repository if it is not there, and put the files into it; gives the address of the commit.

    Args:
        private: whether a repository that is made is seen by its owner alone.

    Raises:
        BenchError: no token, no network, not allowed, a repository of another kind or with other things, or changed
            while this was going on.
    """
    from huggingface_hub import HfApi, constants, get_token

    if constants.is_offline_mode():
        raise UsageError("HF_HUB_OFFLINE is set, so nothing can be pushed.", "Unset it, and push again.")
    token = get_token()
    if token is None:
        raise UsageError(
            "There is no token of the hub, so nothing can be pushed.",
            "Set HF_TOKEN to one that may write, or log in once: hf auth login.",
        )
    learn(token)
    api = HfApi()
    with _in_words(place):
        found = _found(api, place, push)
        if found is None:
            api.create_repo(place.repository, repo_type=push.kind, private=private or None, exist_ok=True)
        return str(_commit(api, push, place, found).commit_url)


def _found(api: Any, place: HubPlace, push: Push) -> Any:
    """What the hub knows of the repository; None where there is none.

    Raises:
        BenchError: it is of the other kind, or somebody else's work.
    """
    info = _asked(api, place, push.kind)
    if info is None:
        other: RepositoryKind = "dataset" if push.kind == "model" else "model"
        if _asked(api, place, other) is not None:
            raise BenchError(
                f"{SCHEME}{place.repository} is {_WORDS[other]} on the hub, and this would be {_WORDS[push.kind]}.",
                "Choose another name.",
            )
        return None
    theirs = [name for name in _names(info) if name != ".gitattributes"]
    if theirs and push.tag not in (info.tags or ()):
        raise BenchError(
            f"{SCHEME}{place.repository} is there, and holds what no push of lifealign-bench put there: "
            f"{clean(theirs[0])}.",
            f"Choose another name. If it may be overwritten, add the tag {push.tag} to its card first.",
        )
    return info


def _asked(api: Any, place: HubPlace, kind: RepositoryKind) -> Any:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.repo_info(place.repository, repo_type=kind)
    except RepositoryNotFoundError:
        return None


def _names(info: Any) -> list[str]:
    return [str(file.rfilename) for file in info.siblings or ()]


def _commit(api: Any, push: Push, place: HubPlace, found: Any) -> Any:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    stale = () if found is None else left_behind(_names(found), push)
    operations = [
        *(CommitOperationDelete(path_in_repo=path, is_folder=False) for path in stale),
        *(
            CommitOperationAdd(
                path_in_repo=file.path,
                path_or_fileobj=file.content if isinstance(file.content, bytes) else str(file.content),
            )
            for file in push.files
        ),
    ]
    return api.create_commit(
        place.repository,
        operations,
        commit_message=push.title,
        repo_type=push.kind,
        # What is deleted was looked at before: a commit that came in between is not to lose its files.
        parent_commit=None if found is None else found.sha,
    )


def left_behind(there: Iterable[str], push: Push) -> Sequence[str]:
    """Of the paths that are ``there``, those that a push of before wrote and this one does not."""
    wanted = {file.path for file in push.files}
    return [path for path in there if path not in wanted and any(fnmatchcase(path, pattern) for pattern in push.owned)]


@contextmanager
def _in_words(place: HubPlace) -> Iterator[None]:
    """What goes wrong with the hub, as one sentence with what to do.

    Raises:
        BenchError: something did.
    """
    from httpx2 import HTTPError
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except BenchError:
        raise
    except HfHubHTTPError as error:
        status, said = error.response.status_code, _said(error)
        if status in (401, 403):
            raise BenchError(
                f"The hub does not let this token write to {place.repository}{said}.",
                f"Use a token that may write for {place.owner}: HF_TOKEN, or hf auth login.",
            ) from error
        remedy = "Somebody else changed it meanwhile: push again." if status == 412 else "Push again; it goes on."
        raise BenchError(f"The hub refused the push to {place.repository} (HTTP {status}){said}.", remedy) from error
    except (HTTPError, ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        network = (HTTPError, ConnectionError, TimeoutError)
        # What goes wrong with a large file comes as the cause of an error that names the file.
        cause = error if isinstance(error, network) else error.__cause__
        if isinstance(cause, network):
            host = urlsplit(constants.ENDPOINT).netloc
            raise BenchError(
                f"The hub at {clean(host)} does not answer ({type(cause).__name__}).",
                "Check the network and HF_ENDPOINT (and set HF_HUB_DISABLE_XET=1 for a hub without Xet storage), then "
                "push again: what was sent is not sent twice.",
            ) from error
        raise BenchError(f"The push to {place.repository} failed{_said(error)}.", "Push again; it goes on.") from error


def _said(error: Exception) -> str:
    """What the hub, or the library, says of it: the last line, without the trace of requests."""
    text = getattr(error, "server_message", None) or str(error)
    lines = [clean(line).strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:_MOST_SAID].rstrip('.')}" if lines else ""

"""Names of weights in repositories of the Hugging Face Hub: ``hf:OWNER/NAME[@REVISION][/FILE]``."""

from __future__ import annotations

import re
import urllib.parse
from typing import NamedTuple, Optional

from ...errors import UserError

PREFIX = "hf:"
DEFAULT_REVISION = "main"
_SHOWN = 200  # characters of a wrong name
_WORD = r"[A-Za-z0-9_](?:[\w.-]{0,94}\w)?"
# A branch with a slash is written with %2F, but for the two kinds of refs that the Hub itself makes.
_NAME = re.compile(
    rf"(?P<repository>{_WORD}/{_WORD})(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<file>.+))?", re.A
)


class Name(NamedTuple):
    """A parsed name: ``repository`` is ``OWNER/NAME``; ``file``, a path in it, is None if the name has none."""

    repository: str
    revision: str
    file: Optional[str]

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISION else "@" + quoted(self.revision)
        return f"{PREFIX}{self.repository}{revision}{'/' + self.file if self.file else ''}"


def quoted(revision: str) -> str:
    """Return a revision as it is written in a name."""
    return revision if revision.startswith(("refs/pr/", "refs/convert/")) else urllib.parse.quote(revision, safe="")


def is_name(text: str) -> bool:
    """Whether ``text`` is to be understood as such a name, right or wrong."""
    return text.startswith(PREFIX)


def parsed(text: str) -> Name:
    """Return the parts of a name.

    :raises UserError: if it has another form.
    """
    match = _NAME.fullmatch(text[len(PREFIX) :]) if is_name(text) else None
    repository, revision, file = match.group("repository", "revision", "file") if match else ("", None, None)
    revision = urllib.parse.unquote(revision or DEFAULT_REVISION)
    parts = [*revision.split("/"), *(file or "x").split("/")]
    whole = all(parts) and not {".", ".."} & set(parts) and "\\" not in text and (text + revision).isprintable()
    if not repository or not whole or "--" in repository or ".." in repository or repository.endswith(".git"):
        raise UserError(
            f"'{text[:_SHOWN]}' is not the name of a repository: write {PREFIX}OWNER/NAME, "
            f"{PREFIX}OWNER/NAME@REVISION or {PREFIX}OWNER/NAME/FILE"
        )
    return Name(repository, revision, file)

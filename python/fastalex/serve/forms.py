"""The images and the fields of a request to ``/v1``: a multipart form, or one image as the body."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, NamedTuple, Tuple
from urllib.parse import parse_qsl

from ..errors import printable
from .bodies import read_body
from .errors import ServiceError
from .messages import header
from .settings import Settings

IMAGE_FIELDS = ("image", "images", "file")  # of a form
MAX_PARTS = 256  # of a form
MAX_HEAD = 4096  # bytes of the headers of a part
MAX_FIELD = 1000  # bytes of a field that is no image
_SHOWN = 80  # characters of a name in a message


class Upload(NamedTuple):
    """An image that a client sent, with the name of its file, which is empty for a plain body."""

    name: str
    data: bytes


class Form(NamedTuple):
    """The images of a request, and its fields: those of the query, and those of the form."""

    images: List[Upload]
    fields: Dict[str, str]


async def read(scope: Any, receive: Any, settings: Settings, allowed: Any) -> Form:
    """Read the images and fields of a request.

    :param allowed: the names that fields may have.
    :raises ServiceError: for another type of content, a form that is broken, no image, or an unknown field.
    """
    try:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARTS)
    except ValueError:
        raise ServiceError(400, f"the query has more than {MAX_PARTS} fields") from None
    kind, _, _ = (header(scope, b"content-type") or "").partition(";")
    kind = kind.strip().lower()
    form = Form([], dict(query))
    if kind == "multipart/form-data":
        _check(form.fields, allowed)
        _fill(form, header(scope, b"content-type") or "", await read_body(scope, receive, settings))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        _check(form.fields, allowed)
        form.images.append(Upload("", await read_body(scope, receive, settings)))
    else:
        raise ServiceError(
            415,
            "send images as a form (curl -F image=@x.jpg) or one image as the body, with its Content-Type "
            f"(image/jpeg, ...), not as {_shown(kind) or 'a body without Content-Type'}",
        )
    _check(form.fields, allowed)
    if not form.images or not all(upload.data for upload in form.images):
        raise ServiceError(400, "the request has no image, or an empty one: curl -F image=@x.jpg")
    return form


def _check(fields: Dict[str, str], allowed: Any) -> None:
    unknown = next((name for name in fields if name not in allowed), None)
    if unknown is not None:
        raise ServiceError(400, f"there is no field '{_shown(unknown)}', only {', '.join(('image', *allowed))}")


def _shown(text: str) -> str:
    return printable(text[:_SHOWN])


def _fill(form: Form, content_type: str, body: bytes) -> None:
    """Fill ``form`` from the body of a multipart request."""
    from python_multipart.multipart import parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise ServiceError(400, "the Content-Type of the form has no boundary")
    for count, (head, start, end) in enumerate(_parts(body, boundary), 1):
        if count > MAX_PARTS:
            raise ServiceError(413, f"the form has more than {MAX_PARTS} parts; send several requests")
        _, options = parse_options_header(_disposition(head))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name in IMAGE_FIELDS:
            file = options.get(b"filename", b"").decode("utf-8", "replace")
            form.images.append(Upload(_shown(file), body[start:end]))
        elif not name:
            raise _invalid()
        elif end - start > MAX_FIELD:
            raise ServiceError(
                400, f"the field '{_shown(name)}' is too long; images go into a field called {IMAGE_FIELDS[0]}"
            )
        else:
            form.fields[name] = body[start:end].decode("utf-8", "replace")


def _parts(body: bytes, boundary: bytes) -> Iterator[Tuple[bytes, int, int]]:
    """Find the parts of a form by RFC 2046, 5.1.1: the head of each, and where in ``body`` its data is.

    No line of the data may begin as a boundary does. Parsers that go on where one does, python_multipart's too, take
    a minute for a body of such lines.
    """
    delimiter = b"\r\n--" + boundary
    at = -2 if body.startswith(delimiter[2:]) else body.find(delimiter)
    while at != -1:  # where a delimiter begins
        at += len(delimiter)
        if body.startswith(b"--", at):
            return
        line = body.find(b"\r\n", at, at + MAX_HEAD)
        if line == -1 or body[at:line].strip(b" \t"):
            break
        blank = body.find(b"\r\n\r\n", line, line + MAX_HEAD)
        end = body.find(delimiter, line)
        if blank == -1 or end < blank:
            break
        yield body[line + 2 : blank], blank + 4, max(end, blank + 4)
        at = end
    raise _invalid()


def _invalid() -> ServiceError:
    return ServiceError(400, "the form is not valid multipart/form-data")


def _disposition(head: bytes) -> bytes:
    """Return the Content-Disposition of a part, which says what it is; empty if there is none."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return value.strip()
    return b""

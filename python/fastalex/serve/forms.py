"""The images and the fields of a request to ``/v1``: a multipart form, or one image as the body."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple
from urllib.parse import parse_qsl

from ..errors import printable
from .bodies import read_body
from .errors import ServiceError
from .messages import header
from .settings import Settings

IMAGE_FIELDS = ("image", "images", "file")  # of a form
MAX_PARTS = 256  # of a form; the parser takes some 10 us for each
MAX_FIELD = 1000  # bytes of a field that is no image
_CHUNK = 1 << 20
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
        _Reader(form).read(header(scope, b"content-type") or "", await read_body(scope, receive, settings))
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
        raise ServiceError(400, f"there is no field '{_shown(unknown)}', only image and {', '.join(allowed)}")


def _shown(text: str) -> str:
    return printable(text[:_SHOWN])


class _Reader:
    """Fills a form from the body of a multipart request."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._parts = 0
        self._name = self._value = b""
        self._headers: Dict[bytes, bytes] = {}
        self._data: List[bytes] = []

    def read(self, content_type: str, body: bytes) -> None:
        """Read a whole body."""
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header

        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise ServiceError(400, "the Content-Type of the form has no boundary")
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": lambda: self._end(parse_options_header),
        }
        try:
            parser = MultipartParser(boundary, callbacks)
            for start in range(0, len(body), _CHUNK):  # so that callbacks see an endless header before its end
                parser.write(body[start : start + _CHUNK] if len(body) > _CHUNK else body)
            parser.finalize()
        except FormParserError:
            raise ServiceError(400, "the form is not valid multipart/form-data") from None

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ServiceError(413, f"the form has more than {MAX_PARTS} parts; send several requests")
        self._headers, self._data = {}, []

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD:
            raise ServiceError(400, f"a header of the form has more than {MAX_FIELD} bytes")

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end(self, parse_options_header: Any) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        data = b"".join(self._data)
        if name in IMAGE_FIELDS:
            file = options.get(b"filename", b"").decode("utf-8", "replace")
            self._form.images.append(Upload(_shown(file), data))
        elif len(data) > MAX_FIELD:
            raise ServiceError(
                400, f"the field '{_shown(name)}' is too long; images go into a field called {IMAGE_FIELDS[0]}"
            )
        else:
            self._form.fields[name] = data.decode("utf-8", "replace")

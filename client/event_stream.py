"""Server-sent events, as much of them as the service sends."""

import codecs
import io
from collections.abc import Iterator


class EventParser:
    """Takes a stream's bytes as they come; gives the data of every event that they complete.

    Comments, which keep the connection alive, are passed over. An event that the stream broke off
    in is dropped, as the standard wants (WHATWG HTML §9.2.6).
    """

    def __init__(self) -> None:
        # Lines end with \n, \r\n or \r alone: str.splitlines would split texts at U+2028 too.
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
        self._line = ""
        self._data: list[str] = []

    def take(self, chunk: bytes) -> Iterator[str]:
        *lines, self._line = (self._line + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
            elif line == "" and self._data:
                data, self._data = self._data, []
                yield "\n".join(data)

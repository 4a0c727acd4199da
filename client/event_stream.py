"""Server-sent events, as much of them as the service sends."""

from collections.abc import Iterable, Iterator


def parse_events(lines: Iterable[str]) -> Iterator[str]:
    """The data of every event; comments, which keep the connection alive, are passed over.

    An event that the stream broke off in is dropped, as the standard wants (WHATWG HTML §9.2.6).
    """
    data: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        if line == "":
            if data:
                yield "\n".join(data)
            data = []
        elif field == "data":
            data.append(value.removeprefix(" "))

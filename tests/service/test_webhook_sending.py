"""Where a webhook may lead: to public addresses, judged at the connection, within bounded time."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from webhook_scenes import Receiver, receiving

from service.webhooks import sending
from service.webhooks.addresses import ForbiddenAddress, require_allowed, resolve
from service.webhooks.sending import Sender

FORBIDDEN_ALWAYS = [
    "0.0.0.0",
    "169.254.169.254",  # metadata of most clouds
    "169.254.1.1",
    "168.63.129.16",  # Azure
    "100.100.100.200",  # Alibaba
    "192.0.0.192",  # Oracle
    "192.0.2.1",  # documentation
    "198.18.0.1",  # benchmarks
    "224.0.0.1",  # multicast
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::10.0.0.1",  # IPv4 within IPv6, the deprecated way
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",  # NAT64
    "2002:7f00:1::",  # 6to4
    "2001:0:7f00:1::",  # Teredo
    "2001:db8::1",
    "3fff::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",  # AWS
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "fc00::1",
    "fd12:3456::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.mark.parametrize("address", FORBIDDEN_ALWAYS + PRIVATE)
def test_no_webhook_leads_to_an_address_that_is_not_public(address: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(ForbiddenAddress):
            require_allowed([address], scheme, private_too=False)


@pytest.mark.parametrize("address", FORBIDDEN_ALWAYS)
def test_metadata_and_what_is_nobodys_is_forbidden_to_an_intranet_too(address: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(ForbiddenAddress):
            require_allowed([address], scheme, private_too=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_intranet_may_allow_private_addresses(address: str) -> None:
    for scheme in ("http", "https"):
        require_allowed([address], scheme, private_too=True)


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("private_too", [False, True])
def test_a_public_address_needs_https(address: str, private_too: bool) -> None:
    require_allowed([address], "https", private_too=private_too)
    with pytest.raises(ForbiddenAddress, match="https"):
        require_allowed([address], "http", private_too=private_too)


def test_one_forbidden_address_among_a_hosts_is_enough() -> None:
    with pytest.raises(ForbiddenAddress):
        require_allowed(["8.8.8.8", "10.0.0.1"], "https", private_too=False)


def test_a_refusal_names_no_address_of_ours() -> None:
    answer = Sender(private_too=False, resolve_host=lambda *_: ["10.20.30.40"]).post(
        "https://inside.example/", {}, b"{}"
    )
    assert answer.error == "the host has an address that is not public"
    assert "10.20" not in answer.error


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "[::1]"]
)
def test_every_spelling_of_this_machine_is_refused_at_the_delivery(
    receiver: Receiver, host: str
) -> None:
    port = receiver.url.rpartition(":")[2]
    for scheme in ("http", "https"):
        answer = Sender(private_too=False).post(f"{scheme}://{host}:{port}/", {}, b"{}")
        assert answer.status is None
        assert "not public" in str(answer.error)
    assert receiver.arrived == []


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that changes its address between two lookups (DNS rebinding) gains nothing."""
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    lookups: list[str] = []
    connected: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        lookups.append(host)
        return answers[len(lookups) - 1]

    def connect(_self: object, host: str, *_: object, **__: object) -> httpcore.NetworkStream:
        connected.append(host)
        raise httpcore.ConnectError("stopped here")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    sender = Sender(private_too=False, resolve_host=rebinding)
    first = sender.post("https://rebinding.example/", {}, b"{}")
    assert first.error == "ConnectError: stopped here"
    assert (lookups, connected) == (["rebinding.example"], ["93.184.216.34"])
    second = sender.post("https://rebinding.example/", {}, b"{}")
    assert "not public" in str(second.error)
    assert connected == ["93.184.216.34"]


def test_the_system_resolves_every_address_of_a_host() -> None:
    found = resolve("localhost", 80)
    assert found
    assert all(ipaddress.ip_address(each).is_loopback for each in found)


def test_a_host_that_there_is_not_is_a_failure_with_a_reason() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer = Sender(private_too=True, resolve_host=unknown).post("http://none.example/", {}, b"{}")
    assert answer.status is None
    assert "Name or service not known" in str(answer.error)


def test_a_host_is_tried_at_its_next_address_if_one_does_not_answer(receiver: Receiver) -> None:
    port = receiver.url.rpartition(":")[2]
    sender = Sender(private_too=True, resolve_host=lambda *_: ["::1", "127.0.0.1"])
    answer = sender.post(f"http://receiver.example:{port}/", {}, b"{}")
    assert answer.status == 204
    assert receiver.arrived[0].headers["host"] == f"receiver.example:{port}"


def test_a_refused_connection_is_a_failure_with_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    answer = Sender(private_too=True).post(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert answer.status is None
    assert str(answer.error).startswith("ConnectError: ")


@pytest.mark.parametrize(
    ("drip", "what"),
    [
        (b"", "silence"),
        (b"HTTP/1.1 200 OK\r\nX: ", "an endless header, a byte at a time"),
    ],
)
def test_a_receiver_that_drips_is_left_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, drip: bytes, what: str
) -> None:
    monkeypatch.setattr(sending, "TOTAL_SECONDS", 0.5)

    def serve(connection: socket.socket, done: threading.Event) -> None:
        connection.sendall(drip)
        while drip and not done.wait(0.02):
            connection.sendall(b"x")
        done.wait(10)

    with listening(serve) as port:
        started = time.monotonic()
        answer = Sender(private_too=True).post(f"http://127.0.0.1:{port}/", {}, b"{}")
        assert time.monotonic() - started < 5, what
    assert answer.status is None
    assert "ReadTimeout" in str(answer.error)


def test_a_body_without_an_end_is_not_read() -> None:
    sent = []

    def serve(connection: socket.socket, done: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not done.is_set():
            try:
                connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
            except OSError:
                return
            sent.append(1024)

    with listening(serve) as port:
        answer = Sender(private_too=True).post(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert answer.is_success
    assert sum(sent) < 50 * 2**20


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff nonsense\r\n\r\n", b"HTTP/1.1 99999 x\r\n\r\n", b""]
)
def test_an_answer_that_is_no_http_is_a_failure(garbage: bytes) -> None:
    def serve(connection: socket.socket, _done: threading.Event) -> None:
        read_request(connection)
        connection.sendall(garbage)

    with listening(serve) as port:
        answer = Sender(private_too=True).post(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert answer.status is None
    assert "RemoteProtocolError" in str(answer.error)


def test_https_asks_the_judged_address_for_the_hosts_own_certificate(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "receiver.example")
    trusting = ssl.create_default_context(cafile=str(certificate))
    sender = Sender(private_too=True, tls=trusting, resolve_host=lambda *_: ["127.0.0.1"])
    asked: list[str | None] = []
    with listening(answering_tls(certificate, key, asked), count=2) as port:
        right = sender.post(f"https://receiver.example:{port}/", {}, b"{}")
        wrong = sender.post(f"https://other.example:{port}/", {}, b"{}")
    assert right.status == 204
    assert wrong.status is None
    assert "certificate" in str(wrong.error)
    assert asked == ["receiver.example", "other.example"]


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "receiver.example")
    sender = Sender(private_too=True, resolve_host=lambda *_: ["127.0.0.1"])
    with listening(answering_tls(certificate, key, [])) as port:
        answer = sender.post(f"https://receiver.example:{port}/", {}, b"{}")
    assert answer.status is None
    assert "certificate" in str(answer.error)


Serve = Callable[[socket.socket, threading.Event], None]


@contextmanager
def listening(serve: Serve, count: int = 1) -> Iterator[int]:
    """A port on which `serve` gets the first connections, one after another."""
    done = threading.Event()

    def accept() -> None:
        for _ in range(count):
            connection, _address = listener.accept()
            with connection, suppress(OSError):  # the sender may be gone, as it should be
                serve(connection, done)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        done.set()
        thread.join(10)
        assert not thread.is_alive()


def read_request(connection: socket.socket) -> None:
    """To its end: a close with bytes unread would reset the connection, answer and all."""
    received = b""
    while not received.endswith(b"{}"):
        received += connection.recv(65536)


def answering_tls(certificate: Path, key: Path, asked: list[str | None]) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    def serve(connection: socket.socket, _done: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            read_request(wrapped)
            wrapped.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    return serve


def self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths

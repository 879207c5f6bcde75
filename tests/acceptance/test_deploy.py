"""A server as it is deployed: PostgreSQL as its database, TLS ended by a proxy before it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.agents import talker
from tests.support.server import World, free_port, running_server
from trunkline.bots.offline.speech import Synthesizer
from trunkline.simulator.caller import Caller, Say, WaitForBotSilence, WaitForHangup, prepare
from trunkline.simulator.contract import HungUpBy, Ring, Setup
from trunkline.simulator.twilio import SIMULATOR

GOODBYE = [WaitForBotSilence(), Say(text="goodbye"), WaitForHangup()]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, made for this test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


@asynccontextmanager
async def tls_relay(port: int, target_port: int, folder: Path) -> AsyncIterator[Path]:
    """A proxy that ends TLS at ``port`` and passes bytes on; yields the certificate to trust."""
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", port, ssl=context)
    try:
        yield certificate
    finally:
        server.close()


async def test_a_call_through_a_tls_terminating_relay(tmp_path: Path) -> None:
    port = free_port()
    public = f"https://127.0.0.1:{port}"
    trust = ssl.create_default_context()
    async with SIMULATOR.open(Setup(tls=trust)) as twilio:
        environment = {**twilio.environment, "PUBLIC_BASE_URL": public}
        async with running_server(tmp_path / "home", environment) as server:
            async with tls_relay(port, server.port, tmp_path) as certificate:
                trust.load_verify_locations(certificate)
                await server.create_agent("relayed", **talker())
                caller = Caller(prepare(GOODBYE, Synthesizer()))
                report = await twilio.ring(
                    Ring(webhook_url=f"{public}/telephony/twilio/inbound/relayed", caller=caller)
                )
            assert report.hung_up_by is HungUpBy.REST, report
            assert report.streams[0].url.startswith(f"wss://127.0.0.1:{port}/")
            call = await server.closed_call("relayed")
            assert (call["state"], call["ended_by"]) == ("completed", "bot")


async def test_a_call_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    async with SIMULATOR.open(Setup()) as twilio:
        environment = {**twilio.environment, "DATABASE_URL": postgres_url}
        async with running_server(tmp_path / "home", environment) as server:
            await server.create_agent("on-postgres", **talker())
            report = await World(server, twilio).ring("on-postgres", GOODBYE)
            assert report.hung_up_by is HungUpBy.REST, report
            call = await server.closed_call("on-postgres")
            assert (call["state"], call["ended_by"]) == ("completed", "bot")
            assert [turn["speaker"] for turn in await server.turns(call["id"])] == [
                "bot",
                "caller",
                "bot",
            ]

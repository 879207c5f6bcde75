"""Twilio on this machine: one account with its REST API, its numbers and its calls."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

from pydantic import SecretStr

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.errors import ConfigError
from trunkline.simulator.caller import Caller
from trunkline.simulator.contract import CallReport, Ring, Setup
from trunkline.simulator.faults import Faults
from trunkline.simulator.hosting import new_client, new_server
from trunkline.simulator.twilio.book import CallBook, CallEntry, NumberEntry
from trunkline.simulator.twilio.phone import Callee, DialForm, Phone, World, new_sid
from trunkline.simulator.twilio.rest import RestFault, RestRequest, new_rest_app

__all__ = ["TwilioService", "TwilioSimulator"]

_MADE_UP_NUMBER = "+15005550006"  # Twilio's magic number: valid, and nobody's


class TwilioSimulator:
    """See ``contract.Simulator``."""

    name = "twilio"

    def open(self, setup: Setup) -> AbstractAsyncContextManager[TwilioService]:
        """Run Twilio until the context is left.

        Raises:
            ConfigError: the account given lacks what signs.
            OSError: the port is taken.
        """
        return _open(setup)


class TwilioService:
    """A running Twilio. What is not in ``contract.SimulatedCarrier`` is for setting the scene."""

    def __init__(
        self, *, account: TwilioAccount, world: World, base_url: str, tasks: asyncio.TaskGroup
    ) -> None:
        self.base_url = base_url
        """Where the REST API is."""
        self.account_sid = world.account_sid
        self.credentials = _credentials(account)
        self.book = CallBook()
        self.numbers: list[NumberEntry] = []
        self.rest_faults: list[RestFault] = []
        """Taken off one by one by the requests that come."""
        self.rest_requests: list[RestRequest] = []
        self.callees: dict[str, Callee] = {}
        """Who answers at a number; anybody else is ``Callee()``."""
        self._account = account
        self._world = world
        self._tasks = tasks
        self._placed: dict[str, asyncio.Task[CallReport]] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make a Trunkline server take this for Twilio."""
        names = self._account.environment()
        found = {names["api_base"]: self.base_url}
        for field in TwilioAccount.model_fields:
            value: object = getattr(self._account, field)
            if value is None or field == "api_base":
                continue
            found[names[field]] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
        return found

    async def ring(self, ring: Ring) -> CallReport:
        """Make a call to a number of ours; see ``contract.SimulatedCarrier``."""
        call = self._new_call("inbound", ring.from_number, ring.to_number)
        phone = self._phone(call, ring.caller, ring.faults)
        return await phone.run_inbound(ring)

    def place(self, to_number: str, from_number: str, form: DialForm) -> CallEntry:
        """Start the call that the server dials; it runs beside everything else."""
        call = self._new_call("outbound-api", from_number, to_number)
        callee = self._callee(to_number)
        caller = callee.new_caller() if callee.new_caller is not None else None
        phone = self._phone(call, caller, callee.faults)
        self._placed[call.sid] = self._tasks.create_task(phone.run_outbound(form, callee))
        return call

    async def placed(self, carrier_call_id: str) -> CallReport:
        """Wait for a call that the server dialled to be over.

        Raises:
            KeyError: there was no such call.
        """
        return await asyncio.shield(self._placed[carrier_call_id])

    def drop_calls(self) -> None:
        """Cancel the calls that the server dialled and that are still up."""
        for task in self._placed.values():
            task.cancel()

    def _callee(self, number: str) -> Callee:
        return self.callees.get(number, Callee())

    def _new_call(self, direction: str, from_number: str, to_number: str) -> CallEntry:
        call = CallEntry(
            sid=new_sid("CA"),
            account_sid=self.account_sid,
            direction=direction,
            from_number=from_number,
            to_number=to_number,
            created_at=datetime.now(UTC),
        )
        self.book.add(call)
        return call

    def _phone(self, call: CallEntry, caller: Caller | None, faults: Faults) -> Phone:
        return Phone(
            call=call, world=self._world, caller=caller, faults=faults, dialled=self._callee
        )


@asynccontextmanager
async def _open(setup: Setup) -> AsyncGenerator[TwilioService]:
    account = _complete(setup.account)
    with socket.create_server(("127.0.0.1", setup.rest_port)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        failure: Exception | None = None
        async with new_client(setup) as http, asyncio.TaskGroup() as tasks:
            world = World(
                http=http,
                account_sid=account.account_id,
                auth_token=_token(account),
                via=setup.via,
                tls=setup.tls,
            )
            service = TwilioService(account=account, world=world, base_url=base_url, tasks=tasks)
            number = account.phone_number or _MADE_UP_NUMBER
            service.numbers.append(NumberEntry(sid=new_sid("PN"), phone_number=number))
            server = new_server(new_rest_app(service))
            serving = tasks.create_task(server.serve(sockets=[listener]))
            try:
                yield service
            except Exception as error:  # noqa: BLE001 - raised again below, not in a group
                failure = error
            finally:
                server.should_exit = True
                service.drop_calls()
                await serving
        if failure is not None:
            raise failure


def _complete(account: object) -> TwilioAccount:
    """Return the account given, or one that is made up."""
    if isinstance(account, TwilioAccount):
        if account.missing():
            raise ConfigError(
                f"set {' and '.join(account.missing())}: webhooks are signed with them",
                field=account.missing()[0],
            )
        return account
    return TwilioAccount(
        account_sid="AC" + secrets.token_hex(16),
        auth_token=SecretStr(secrets.token_hex(16)),
        phone_number=_MADE_UP_NUMBER,
    )


def _token(account: TwilioAccount) -> str:
    token = account.auth_token
    return "" if token is None else token.get_secret_value()


def _credentials(account: TwilioAccount) -> Mapping[str, str]:
    found = {account.account_id: _token(account)}
    if account.api_key is not None and account.api_secret is not None:
        found[account.api_key] = account.api_secret.get_secret_value()
    return found

"""Exotel on this machine: one account with its REST API, its ExoPhones and its calls."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pydantic import SecretStr

from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.errors import ConfigError
from trunkline.simulator.callee import Callee
from trunkline.simulator.contract import CallReport, Ring, Setup
from trunkline.simulator.exotel.phone import CallEntry, DialForm, Phone, World, new_call
from trunkline.simulator.exotel.rest import new_rest_app
from trunkline.simulator.hosting import new_client, new_server

__all__ = ["ExotelService", "ExotelSimulator"]

_MADE_UP_NUMBER = "+918047091234"


class ExotelSimulator:
    """See ``contract.Simulator``."""

    name = "exotel"

    def open(self, setup: Setup) -> AbstractAsyncContextManager[ExotelService]:
        """Run Exotel until the context is left.

        Raises:
            ConfigError: the account given lacks its keys.
            OSError: the port is taken.
        """
        return _open(setup)


class ExotelService:
    """A running Exotel. What is not in ``contract.SimulatedCarrier`` is for setting the scene."""

    def __init__(
        self, *, account: ExotelAccount, world: World, base_url: str, tasks: asyncio.TaskGroup
    ) -> None:
        self.base_url = base_url
        """Where the REST API is."""
        self.account_sid = world.account_sid
        self.credentials = account.rest_credentials
        self.connects_by_callback = False
        """The account is of the kind that reads the answer to *answered* callbacks."""
        self.calls: dict[str, CallEntry] = {}
        self.numbers = [account.phone_number or _MADE_UP_NUMBER]
        self.rest_requests: list[Mapping[str, str]] = []
        self.callees: dict[str, Callee] = {}
        """Who answers at a number, as it is dialled; anybody else is ``Callee()``."""
        self._account = account
        self._world = world
        self._tasks = tasks
        self._placed: dict[str, asyncio.Task[CallReport]] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make a Trunkline server take this for Exotel."""
        names = self._account.environment()
        found = {names["api_base"]: self.base_url}
        for field in ExotelAccount.model_fields:
            value: object = getattr(self._account, field)
            if value is None or field == "api_base":
                continue
            found[names[field]] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
        return found

    async def ring(self, ring: Ring) -> CallReport:
        """Make a call to an ExoPhone; see ``contract.SimulatedCarrier``."""
        call = self._new_call("inbound", ring.from_number, ring.to_number)
        phone = Phone(call=call, world=self._world, caller=ring.caller, faults=ring.faults)
        return await phone.run_inbound(ring)

    def place(self, to_number: str, caller_id: str, form: DialForm) -> CallEntry:
        """Start the call that the server dials; it runs beside everything else."""
        call = self._new_call("outbound-api", to_number, caller_id)
        callee = self.callees.get(to_number, Callee())
        caller = callee.new_caller() if callee.new_caller is not None else None
        phone = Phone(call=call, world=self._world, caller=caller, faults=callee.faults)
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

    def _new_call(self, direction: str, first_number: str, exophone: str) -> CallEntry:
        call = new_call(
            account_sid=self.account_sid,
            direction=direction,
            first_number=first_number,
            exophone=exophone,
        )
        self.calls[call.sid] = call
        return call


@asynccontextmanager
async def _open(setup: Setup) -> AsyncGenerator[ExotelService]:
    account = _complete(setup.account)
    with socket.create_server(("127.0.0.1", setup.rest_port)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        failure: Exception | None = None
        async with new_client(setup) as http, asyncio.TaskGroup() as tasks:
            world = World(
                http=http,
                account_sid=account.account_id,
                webhook_credentials=account.webhook_credentials or ("", ""),
                via=setup.via,
                tls=setup.tls,
            )
            service = ExotelService(account=account, world=world, base_url=base_url, tasks=tasks)
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


def _complete(account: object) -> ExotelAccount:
    """Return the account given, or one that is made up."""
    if isinstance(account, ExotelAccount):
        if account.missing():
            raise ConfigError(f"set {' and '.join(account.missing())}", field=account.missing()[0])
        return account
    return ExotelAccount(
        account_sid="simulated1",
        api_key=secrets.token_hex(16),
        api_token=SecretStr(secrets.token_hex(16)),
        phone_number=_MADE_UP_NUMBER,
    )

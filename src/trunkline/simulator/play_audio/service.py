"""A carrier of this dialect on this machine: one account with its REST API and its calls."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

from pydantic import SecretStr

from trunkline.dialects.auth_account import AuthAccount
from trunkline.errors import ConfigError
from trunkline.simulator.callee import Callee
from trunkline.simulator.caller import Caller
from trunkline.simulator.contract import CallReport, Ring, Setup
from trunkline.simulator.faults import Faults
from trunkline.simulator.hosting import new_client, new_server
from trunkline.simulator.play_audio.book import CallEntry, DialForm
from trunkline.simulator.play_audio.peculiarities import Peculiarities
from trunkline.simulator.play_audio.phone import Phone, World
from trunkline.simulator.play_audio.rest import new_rest_app

__all__ = ["PlayAudioService", "PlayAudioSimulator"]


class PlayAudioSimulator:
    """See ``contract.Simulator``."""

    def __init__(self, rules: Peculiarities) -> None:
        self._rules = rules

    @property
    def name(self) -> str:
        """The carrier's name."""
        return self._rules.name

    def open(self, setup: Setup) -> AbstractAsyncContextManager[PlayAudioService]:
        """Run the carrier until the context is left.

        Raises:
            ConfigError: the account given lacks what signs.
            OSError: the port is taken.
        """
        return _open(setup, self._rules)


class PlayAudioService:
    """A running carrier. What is not in ``contract.SimulatedCarrier`` is for setting the scene."""

    def __init__(
        self, *, account: AuthAccount, world: World, base_url: str, tasks: asyncio.TaskGroup
    ) -> None:
        self.rules = world.rules
        self.base_url = base_url
        """Where the REST API is, up to ``/Account/``."""
        self.account_id, token = account.rest_credentials
        self.credentials: Mapping[str, str] = {self.account_id: token}
        self.calls: dict[str, CallEntry] = {}
        self.numbers: dict[str, str] = {}
        self.refusals: list[int] = []
        self.callees: dict[str, Callee] = {}
        """Who answers at a number, in digits; anybody else is ``Callee()``."""
        self._account = account
        self._world = world
        self._tasks = tasks
        self._placed: dict[str, asyncio.Task[CallReport]] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make a Trunkline server take this for its carrier."""
        names = self._account.environment()
        found = {names["api_base"]: self.base_url}
        for field in type(self._account).model_fields:
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
        return await self._phone(call, ring.caller, ring.faults).run_inbound(ring)

    def place(self, to_number: str, from_number: str, form: DialForm) -> CallEntry:
        """Start the call that the server dials; it runs beside everything else."""
        call = self._new_call("outbound", from_number, to_number)
        callee = self._callee(to_number)
        caller = callee.new_caller() if callee.new_caller is not None else None
        phone = self._phone(call, caller, callee.faults)
        self._placed[call.uuid] = self._tasks.create_task(phone.run_outbound(form, callee))
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
        return self.callees.get(number.removeprefix("+"), Callee())

    def _new_call(self, direction: str, from_number: str, to_number: str) -> CallEntry:
        call = CallEntry(
            uuid=str(uuid.uuid4()),
            direction=direction,
            from_number=from_number.removeprefix("+"),
            to_number=to_number.removeprefix("+"),
            created_at=datetime.now(UTC),
        )
        self.calls[call.uuid] = call
        return call

    def _phone(self, call: CallEntry, caller: Caller | None, faults: Faults) -> Phone:
        return Phone(
            call=call, world=self._world, caller=caller, faults=faults, dialled=self._callee
        )


@asynccontextmanager
async def _open(setup: Setup, rules: Peculiarities) -> AsyncGenerator[PlayAudioService]:
    account = _complete(setup.account, rules)
    with socket.create_server(("127.0.0.1", setup.rest_port)) as listener:
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        failure: Exception | None = None
        async with new_client(setup) as http, asyncio.TaskGroup() as tasks:
            world = World(
                rules=rules,
                http=http,
                main_account_id=account.account_id,
                auth_token=account.rest_credentials[1],
                via=setup.via,
                tls=setup.tls,
            )
            service = PlayAudioService(
                account=account, world=world, base_url=host + rules.api_root, tasks=tasks
            )
            if account.phone_number is not None:
                service.numbers[account.phone_number.removeprefix("+")] = ""
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


def _complete(account: object, rules: Peculiarities) -> AuthAccount:
    """Return the account given, or one that is made up."""
    made_up = rules.made_up()
    if not isinstance(account, type(made_up)):
        return made_up
    if account.missing():
        raise ConfigError(
            f"set {' and '.join(account.missing())}: webhooks are signed with them",
            field=account.missing()[0],
        )
    return account

"""``/api/settings/telephony`` and ``/api/providers``: carriers and how they are set up."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request
from pydantic_core import to_jsonable_python

from trunkline import carriers
from trunkline.calls.accounts import CarrierOverview
from trunkline.calls.ports import Context
from trunkline.http.api.models import Provider, ProviderSettings, TelephonyChange, TelephonySettings
from trunkline.http.auth import Admin, Viewer, context_of
from trunkline.http.carrier_routes import ANY_CALL

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["settings"])


async def _settings(context: Context) -> TelephonySettings:
    providers = {
        overview.carrier.name: ProviderSettings(
            configured=overview.configured,
            missing=list(overview.missing),
            problem=overview.problem,
            phone_number=overview.phone_number,
            account_id=overview.account_id,
            max_concurrent_calls=overview.max_concurrent_calls,
        )
        for overview in await context.accounts.overviews()
    }
    return TelephonySettings(
        provider=await context.accounts.default_provider(), providers=providers
    )


@router.get("/settings/telephony")
async def read_settings(request: Request, _role: Viewer) -> TelephonySettings:
    """The telephony settings in force; credentials only as where they come from."""
    return await _settings(context_of(request))


@router.put("/settings/telephony")
async def change_settings(
    request: Request, change: TelephonyChange, _role: Admin
) -> TelephonySettings:
    """Change what is sent, from the next call on.

    ``{"provider": "twilio"}`` alone switches the default.
    """
    context = context_of(request)
    for name in (*change.providers, *filter(None, (change.provider,))):
        carriers.get(name)  # an unknown one changes nothing
    for name, wanted in change.providers.items():
        sent = wanted.model_fields_set & {"max_concurrent_calls"}
        await context.accounts.save(
            carriers.get(name),
            credentials=wanted.credentials(),
            limit={"max_concurrent_calls": wanted.max_concurrent_calls} if sent else {},
        )
    if "provider" in change.model_fields_set:
        await context.accounts.save_default_provider(change.provider)
    return await _settings(context)


def _provider(context: Context, overview: CarrierOverview, in_use: int) -> Provider:
    name = overview.carrier.name
    console: dict[str, str] = {}
    if overview.carrier.webhook is not None:
        console["voice_url"] = context.urls.inbound(name, "AGENT")
        console["status_callback"] = context.urls.events(name, ANY_CALL)
    if overview.carrier.verify_upgrade is not None:
        console["static_stream_url"] = context.urls.stream(name, "AGENT")
    return Provider(
        name=name,
        display_name=overview.carrier.display_name,
        configured=overview.configured,
        missing=list(overview.missing),
        ready=not overview.missing and overview.problem is None,
        problem=overview.problem,
        phone_number=overview.phone_number,
        max_concurrent_calls=overview.max_concurrent_calls,
        in_use=in_use,
        features=to_jsonable_python(asdict(overview.carrier.features)),
        console=console,
    )


@router.get("/providers")
async def list_providers(request: Request, _role: Viewer) -> list[Provider]:
    """Every carrier: capabilities, set-up state, what to paste into its console."""
    context = context_of(request)
    slots = await context.store.count_slots()
    return [
        _provider(context, overview, slots.get(f"carrier:{overview.carrier.name}", 0))
        for overview in await context.accounts.overviews()
    ]

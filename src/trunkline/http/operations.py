"""Routes for whoever runs the server: health, readiness, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from trunkline.errors import StoreError
from trunkline.http.auth import Viewer, context_of

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """New calls can be taken: not draining, database there, a gateway connected."""
    context = context_of(request)
    problems: list[str] = []
    if context.is_draining():
        problems.append("draining")
    if not context.gateways.all_connected():
        problems.append("gateway not connected")
    try:
        await context.store.check()
    except StoreError:
        problems.append("database away")
    status = "ready" if not problems else "not ready"
    return JSONResponse({"status": status, "problems": problems}, 200 if not problems else 503)


@router.get("/metrics")
async def metrics(request: Request, _role: Viewer) -> Response:
    """Prometheus metrics."""
    context = context_of(request)
    registry = CollectorRegistry()
    slots = Gauge("trunkline_slots_in_use", "Calls in a scope", ["scope"], registry=registry)
    for scope, count in (await context.store.count_slots()).items():
        slots.labels(scope).set(count)
    live = Gauge("trunkline_live_streams", "Calls with a stream on a gateway", registry=registry)
    live.set(len(context.gateways.live_calls()))
    draining = Gauge("trunkline_draining", "1 while no new calls are taken", registry=registry)
    draining.set(int(context.is_draining()))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

"""Every route has its heading in docs/http-api.md, and every heading its route."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.front import app_of, open_world
from trunkline.http.carrier_routes import router
from trunkline.http.errors import STATUS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")
HEADINGS = set(re.findall(r"^### `([A-Z]+) (\S+)`$", PAGE, re.MULTILINE))


async def test_the_page_has_every_route_and_no_other(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        document = app_of(world).openapi()
    routes = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    routes |= {("POST", getattr(route, "path", "")) for route in router.routes}
    assert {heading for heading in HEADINGS if heading[0] != "WS"} == routes


def test_the_page_names_the_media_paths() -> None:
    paths = {path for method, path in HEADINGS if method == "WS"}
    assert paths == {
        "/ws/{carrier_name}/{agent_name}/{token}",
        "/ws/{carrier_name}/{agent_name}",
    }


@pytest.mark.parametrize("error", STATUS, ids=lambda error: error.__name__)
def test_the_page_names_every_code_with_its_status(error: type[Exception]) -> None:
    code, status = str(getattr(error, "code", "")), STATUS[error]  # type: ignore[index]
    if code in ("internal_error", "carrier_error"):
        return  # a bug; the root of four that are named
    rows = [row for row in PAGE.splitlines() if f"`{code}`" in row and row.startswith("| ")]
    assert any(str(status) in row.split("|")[1] for row in rows), code

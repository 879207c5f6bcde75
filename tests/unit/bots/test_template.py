from __future__ import annotations

from tests.support.scripted_gateway import call_started
from trunkline.bots.template import call_variables, fill
from trunkline.dispatch.messages import AgentSpec

AGENT = AgentSpec(name="front-desk", kind="pipeline")


def test_facts_and_body_are_filled_in() -> None:
    body = {"plan": "gold", "vip": True, "visits": 3, "customer": {"name": "Ada"}, "tags": ["a"]}
    variables = call_variables(call_started(AGENT, body=body))
    text = "{{ from_number }} {{to_number}} {{plan}} {{vip}} {{visits}} {{customer.name}} {{tags}}."
    assert fill(text, variables) == "+14155550100 +14155550199 gold true 3 Ada ."


def test_body_cannot_replace_facts() -> None:
    variables = call_variables(call_started(AGENT, body={"from_number": "+1999"}))
    assert variables["from_number"] == "+14155550100"


def test_body_of_another_kind_has_no_variables() -> None:
    assert "0" not in call_variables(call_started(AGENT, body=["a"]))


def test_values_are_not_filled_in_again() -> None:
    assert fill("{{a}}", {"a": "{{b}}", "b": "c"}) == "{{b}}"


def test_what_is_no_variable_stays() -> None:
    assert fill("{a} {{ }} {{1}}", {}) == "{a} {{ }} {{1}}"

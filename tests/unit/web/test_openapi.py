"""The API, described."""

from __future__ import annotations

import re
from typing import Any

from elodin_spark.web import openapi
from elodin_spark.web.app import _Answers
from elodin_spark.web.view import options_schema


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in references(inner)]
    return [each for inner in value for each in references(inner)] if isinstance(value, list) else []


def test_every_endpoint_is_answered_and_described() -> None:
    found = openapi.document(options_schema())
    operations = [each for path in found["paths"].values() for each in path.values()]
    assert len(operations) == len(openapi.ENDPOINTS) == len({each["operationId"] for each in operations})
    for each in openapi.ENDPOINTS:
        assert callable(getattr(_Answers, each.handler)), each
        where = each.path.replace(":path", "")
        operation = found["paths"][where][each.method]
        in_path = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", where))
        assert operation["responses"]["200"]["description"]
        assert where in openapi.page()


def test_references_lead_somewhere_and_no_file_can_be_named() -> None:
    found = openapi.document(options_schema())
    known = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert set(references(found)) == known
    assert "moc" not in found["components"]["schemas"]["SearchOptions"]["properties"]


def test_the_page_has_neither_style_nor_script() -> None:
    page = openapi.page("<first>")
    assert "&lt;first&gt;" in page
    assert not re.search(r"<(script|style|link)|style=|onclick", page)

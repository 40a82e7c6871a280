"""The page that problem types point to."""

import re

import httpx
import pytest

from tests.support.serving import ANCHORS, problem


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_every_kind_of_error_has_a_section(client: httpx.Client, prefix: str) -> None:
    """With its status; the page needs nothing from elsewhere, and nothing may be added to it."""
    answer = client.get(f"{prefix}/problems")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"https?:|src=|href=|<style|<script", answer.text)
    sections = re.findall(r'<section id="([a-z-]+)">\s*<h2>(\d+) ', answer.text)
    assert {int(status): anchor for anchor, status in sections} == ANCHORS
    assert len(sections) == len(ANCHORS)


def test_every_documented_error_has_a_section(client: httpx.Client) -> None:
    """The statuses of all operations are among those that the page explains."""
    paths = client.get("/openapi.json").json()["paths"].values()
    found = {int(status) for item in paths for status in item["get"]["responses"]}
    errors = {status for status in found if status >= 400}
    assert {404, 422, 503} <= errors <= set(ANCHORS)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/v1/prices", 422), ("/v1/health/ready", 503), ("/v1/prices/last", 422)],
)
def test_a_type_leads_to_its_section(client: httpx.Client, path: str, status: int) -> None:
    """From wherever the error came."""
    answer = client.get(path)
    assert problem(answer, status)

    place = answer.url.join(answer.json()["type"])
    assert f'<section id="{place.fragment}">' in client.get(place).text

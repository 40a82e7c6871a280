"""The page that problem types link to."""

import re

import httpx
import pytest

from tests.support.api import ANCHORS, error_reasons


def test_every_problem_type_has_a_section(client: httpx.Client) -> None:
    response = client.get("/problems")

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"https?:|src=|href=|<style|<script", response.text)
    sections = re.findall(r'<section id="([a-z-]+)">\s*<h2>(\d+) ', response.text)
    assert {int(status): anchor for anchor, status in sections} == ANCHORS
    assert len(sections) == len(ANCHORS)


def test_every_documented_error_has_a_section(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"].values()
    found = {int(status) for item in paths for status in item["get"]["responses"]}
    errors = {status for status in found if status >= 400}
    assert {404, 422, 503} <= errors <= set(ANCHORS)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/v1/prices", 422), ("/v1/health/ready", 503), ("/v1/prices/last", 422)],
)
def test_problem_type_links_to_its_section(client: httpx.Client, path: str, status: int) -> None:
    response = client.get(path)
    assert error_reasons(response, status)

    target = response.url.join(response.json()["type"])
    assert f'<section id="{target.fragment}">' in client.get(target).text

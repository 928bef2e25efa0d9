"""What other Python software makes of kvd's `/metrics`."""

from __future__ import annotations

import re

import httpx
from prometheus_client.parser import text_string_to_metric_families

BASE_UNITS = ("_total", "_seconds", "_bytes")


def samples(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample; the form of the text, and of each name, is checked."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family
        assert re.fullmatch(r"(kvd|process)_[a-z_]+", family.name), family.name
        assert family.samples, family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total")
            if "duration" in sample.name:
                assert any(unit in sample.name for unit in BASE_UNITS)
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
        if family.type == "histogram":
            check_buckets(family.name, found)
    return found


def check_buckets(name: str, found: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> None:
    """Each bucket holds those before it, and the last one all."""
    for (sample, labels), count in found.items():
        if sample != f"{name}_count":
            continue
        buckets = [
            value
            for (other, of), value in found.items()
            if other == f"{name}_bucket" and set(labels) <= set(of)
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == count


def test_the_text_is_what_prometheus_reads_and_its_figures_move(own_kvd: str) -> None:
    before = samples(own_kvd)
    for _ in range(3):
        httpx.get(f"{own_kvd}/items/missing")
    httpx.post(f"{own_kvd}/items/", json={"key": "k", "value": "v"})
    after = samples(own_kvd)

    def moved(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0)

    item = {"route": "/items/{key}", "method": "GET"}
    assert moved("kvd_http_requests_total", **item, status="404") == 3
    assert moved("kvd_http_request_duration_seconds_count", **item) == 3
    assert moved("kvd_database_batch_size_sum", kind="read") == 3
    assert moved("kvd_http_requests_total", route="/items/", method="POST", status="201") == 1
    assert {value for (name, _), value in after.items() if name == "kvd_build_info"} == {1}

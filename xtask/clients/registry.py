"""Debian's python3-consul against the stand-in for a Consul agent. Prints `N passed, N failed` last."""

import json
import sys
import threading
import time
from urllib.parse import urlparse

import consul

place = urlparse(json.loads(sys.argv[1])["url"])
client = consul.Consul(host=place.hostname, port=place.port)
passed = failed = 0


def check(test):
    global passed, failed
    try:
        test()
        passed += 1
        print(f"ok: {test.__doc__}")
    except Exception as error:  # a client may fail in any way
        failed += 1
        print(f"FAILED: {test.__doc__}: {error!r}")


def registers():
    """a service is registered with a TTL check, passes, and is found"""
    ttl = consul.Check.ttl("10s")
    assert client.agent.service.register("py", service_id="py-1", address="127.0.0.1", port=81, tags=["a"], check=ttl)
    _, entries = client.health.service("py", passing=True)
    assert entries == [], entries
    client.agent.check.ttl_pass("service:py-1", "fine")
    index, entries = client.health.service("py", passing=True)
    assert entries[0]["Service"]["Port"] == 81 and int(index) > 0, entries
    _, nodes = client.catalog.service("py")
    assert nodes[0]["ServiceID"] == "py-1", nodes
    assert client.agent.services()["py-1"]["Tags"] == ["a"]


def waits():
    """a blocking query waits for the change and no longer"""
    index, _ = client.health.service("py")
    threading.Timer(0.5, lambda: client.agent.check.ttl_fail("service:py-1", "gone")).start()
    begin = time.monotonic()
    after, entries = client.health.service("py", index=index, wait="10s")
    assert 0.3 < time.monotonic() - begin < 9, time.monotonic() - begin
    assert int(after) > int(index)
    assert [c["Output"] for c in entries[0]["Checks"] if c["CheckID"] == "service:py-1"] == ["gone"], entries


def deregisters():
    """what is deregistered is gone"""
    client.agent.service.deregister("py-1")
    assert client.health.service("py")[1] == []


for test in (registers, waits, deregisters):
    check(test)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)

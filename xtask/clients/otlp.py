"""One trace from a client's own span through the gateway, a saga and a tool into a service's own span, received by a
program that has nothing to do with Trunkline: the messages of OTLP as `opentelemetry-proto` has them."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2

what = json.loads(sys.argv[1])
TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
spans, bodies, passed, failed = {}, [], 0, 0


def check(name, good):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok   " if good else "FAIL ") + name, flush=True)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = service.ExportTraceServiceRequest()
        if self.headers["content-type"].startswith("application/json"):
            # OTLP has identities in hexadecimal, the JSON form of protobuf in base64.
            request = of_json(json.loads(body))
            bodies.append(body)
        else:
            request.ParseFromString(body)
        for resource in request.resource_spans:
            names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    spans[span.span_id.hex()] = (names.get("service.name"), span)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def of_json(body):
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(body, service.ExportTraceServiceRequest())


def request(path, body=None, headers=(), kind="application/json"):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(gateway + path, data, {"content-type": kind, **dict(headers)})
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def until(name, look):
    end = time.time() + 20
    while time.time() < end:
        if found := look():
            return found
        time.sleep(0.05)
    check(name, False)
    return None


receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
environment = {
    **os.environ,
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_SERVICE_NAME": "the-gateway",
}
folder = Path(what["folder"])
shop = subprocess.Popen(
    [what["trunkline"], "shop", "--listen-base", "127.0.0.1:0", "--data", folder / "shop"],
    env=environment, stdout=subprocess.PIPE, text=True,
)
services = dict(shop.stdout.readline().split() for _ in range(4))  # the name of each, and its address
documents = what["documents"]
(folder / "trunkline.json").write_text(json.dumps({
    "listen": "127.0.0.1:0", "data_dir": str(folder / "state"),
    "services": {
        f"shop-{name}": {"openapi": {"document": f"{documents}/{name}.yaml", "base_url": url}}
        for name, url in services.items()
    },
    "flows": {"tools": {"shop-payments__chargePayment": {"undo": {
        "tool": "shop-payments__refundPayment", "args": {"payment_id": "$${.result.id}"}}}}},
}))
log = open(folder / "log", "w")
running = subprocess.Popen(
    [what["trunkline"], "up", folder / "trunkline.json"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
)
try:
    gateway = running.stdout.readline().split()[-1]
    ready = lambda: (health := json.loads(request("/readyz"))) and health["services_up"] == health["services"]
    until("the services are up", ready)
    pay = lambda name, after, card: {
        "id": name, "tool": "shop-payments__chargePayment", "after": after,
        "args": {"body": {"order_id": "ord-trace", "amount_cents": 100, "card": card}},
    }
    plan = {"steps": [pay("good", [], "card-ada"), pay("bad", ["good"], "card-declined")]}
    began = time.time_ns()
    answer = json.loads(request(
        "/v1/tools/run_plan:call", {"plan": plan}, {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
    ))
    ended = answer["result"]["structuredContent"]["status"]
    check(f"the plan was undone: {ended}", ended == "undone")

    # The client's own span, as an SDK would send it.
    own = trace_pb2.Span(
        trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(CLIENT), name="prompt", kind=3,
        start_time_unix_nano=began, end_time_unix_nano=time.time_ns(),
    )
    sent = service.ExportTraceServiceRequest()
    resource = sent.resource_spans.add()
    pair = resource.resource.attributes.add(key="service.name")
    pair.value.string_value = "the-agent"
    resource.scope_spans.add().spans.append(own)
    taken = service.ExportTraceServiceResponse()
    taken.ParseFromString(request("/v1/traces", sent.SerializeToString(), kind="application/x-protobuf"))
    check("the gateway takes the client's span", not taken.partial_success.rejected_spans)

    named = lambda start: [span for _, span in spans.values() if span.name.startswith(start)]
    until("the flow's span is received", lambda: named("flow ") and len(bodies) >= 2)
    until("the call's span is received", lambda: named("tools/call flows/run_plan"))
    parent = lambda span: spans.get(span.parent_span_id.hex(), (None, None))[1]
    check("all is one trace", all(span.trace_id.hex() == TRACE for _, span in spans.values()))
    served = [span for name, span in spans.values() if name == "payments"]
    check(f"the service's own spans: {len(served)}", len(served) >= 3)
    for span in served:
        names, at = [], span
        while at is not None:
            names.append(at.name)
            top, at = at, parent(at)
        chain = [
            "POST /", "execute_tool ", "execute", "tools/call shop-payments/", ("step ", "undo "), "flow ",
            "execute_tool run_plan", "execute", "tools/call flows/run_plan",
        ]
        fits = len(names) == len(chain) and all(name.startswith(start) for name, start in zip(names, chain))
        check(f"{span.name}: {' < '.join(names[1:])}", fits)
        check("and that is a child of the client's span", top.parent_span_id.hex() == CLIENT)
    ours = [span for name, span in spans.values() if name == "the-gateway"]
    check(f"the gateway's spans bear its name: {len(ours)}", len(ours) > 20)
    check("a failed step has failed", any(span.status.code == 2 for span in named("step ")))

    # What the service told its own receiver, told to the gateway: one waterfall.
    for body in bodies:
        request("/v1/otlp/v1/traces", body)
    whole = lambda: (seen := json.loads(request(f"/v1/traces/{TRACE}"))) and (
        len([row for row in seen["rows"] if row["service"] == "payments"]) == len(served) and seen
    )
    seen = until("the gateway shows the service's spans", whole) or {"rows": [{}], "missing_parents": 1}
    check("the client's span is the root", seen["rows"][0].get("name") == "prompt" and not seen["missing_parents"])
    services = json.loads(request("/v1/map"))
    edges = {(edge["from"], edge["to"]) for edge in services["edges"]}
    payments = next(node for node in services["nodes"] if node["id"] == "service:shop-payments")
    check("the service is known by its own name, too", payments["also"] == ["payments"])
    check("the map begins with the agent", ("agent:the-agent", "principal:local") in edges)
finally:
    running.terminate()
    shop.terminate()
    running.wait(20)
    shop.wait(20)
print(f"{passed} passed, {failed} failed")

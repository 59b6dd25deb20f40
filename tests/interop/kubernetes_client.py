"""Kubernetes' own Python client, typed, by custom objects and dynamic, against the control plane: what it sends is what it
sends to any cluster. Arguments: the kubeconfig, and a folder for the cache of discovery."""

import sys
import threading

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException

config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
NAMESPACE = "python"


def refused(status, call, *arguments, **named):
    """The call is refused with this status; returns what was said."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert error.status == status, f"{error.status} instead of {status}: {error.body}"
        return str(error.body)
    raise AssertionError(f"{call.__name__} was not refused")


def service(name, port=80):
    ports = [client.V1ServicePort(port=port, name="http", app_protocol="http")]
    spec = client.V1ServiceSpec(selector={"app": name}, ports=ports)
    return client.V1Service(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=spec)


# Created, read, changed in every way, and deleted.
core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
made = core.create_namespaced_service(NAMESPACE, service("orders"))
assert made.metadata.uid and made.metadata.generation == 1
for event in watch.Watch().stream(core.list_namespaced_service, NAMESPACE, timeout_seconds=20):
    if event["object"].spec.cluster_ip:
        break  # The control plane has written what it adds.
else:
    raise AssertionError("the service was given no address")
refused(409, core.create_namespaced_service, NAMESPACE, service("orders"))
refused(404, core.read_namespaced_service, "nothing", NAMESPACE)
assert "spec.ports[0].port" in refused(422, core.create_namespaced_service, NAMESPACE, service("bad", 70000))
patched = core.patch_namespaced_service("orders", NAMESPACE, {"metadata": {"labels": {"tier": "front"}}})
assert patched.metadata.labels == {"app": "orders", "tier": "front"}
patch = [{"op": "replace", "path": "/spec/ports/0/port", "value": 8080}]
assert core.patch_namespaced_service("orders", NAMESPACE, patch).spec.ports[0].port == 8080
fresh = core.read_namespaced_service("orders", NAMESPACE)
fresh.spec.ports[0].port = 81
replaced = core.replace_namespaced_service("orders", NAMESPACE, fresh)
assert replaced.spec.ports[0].port == 81 and replaced.metadata.generation > made.metadata.generation
fresh.spec.ports[0].port = 82
refused(409, core.replace_namespaced_service, "orders", NAMESPACE, fresh)

# Lists: by label and field, in pages that fit together.
for number in range(5):
    core.create_namespaced_config_map(
        NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"map-{number}"), data={"n": str(number)})
    )
assert [s.metadata.name for s in core.list_namespaced_service(NAMESPACE, label_selector="tier=front").items] == ["orders"]
one = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=map-3")
assert [m.data["n"] for m in one.items] == ["3"]
names, token, pages = [], None, 0
while pages == 0 or token:
    page = core.list_namespaced_config_map(NAMESPACE, limit=2, _continue=token)
    names += [m.metadata.name for m in page.items]
    token, pages = page.metadata._continue, pages + 1
assert names == [f"map-{number}" for number in range(5)] and pages == 3

# A watch from a list misses nothing and repeats nothing, also when it is taken up again.
listed = core.list_namespaced_config_map(NAMESPACE)
start = listed.metadata.resource_version


def change():
    for number in range(3):
        core.patch_namespaced_config_map("map-0", NAMESPACE, {"data": {"n": f"new-{number}"}})
    core.delete_namespaced_config_map("map-1", NAMESPACE)


changes = threading.Thread(target=change)
changes.start()
seen = []
for _ in range(4):
    # A new watch for each: taken up where the last one stopped.
    for event in watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name, event["object"].data["n"]))
        start = event["object"].metadata.resource_version
        break
changes.join()
expected = [("MODIFIED", "map-0", f"new-{number}") for number in range(3)] + [("DELETED", "map-1", "1")]
assert seen == expected, seen
stream = watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=1)
assert list(stream) == [], "a quiet watch ends when it was asked to"
future = str(int(start) + 1_000_000)
try:
    list(watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version=future, timeout_seconds=5))
    raise AssertionError("a watch from the future was not refused")
except ApiException as error:
    assert error.status == 410, error

# The Gateway API by custom objects.
custom = client.CustomObjectsApi()
gateway = ("gateway.networking.k8s.io", "v1", NAMESPACE, "httproutes")
route = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "orders"},
    "spec": {
        "parentRefs": [{"group": "", "kind": "Service", "name": "orders"}],
        "rules": [{"backendRefs": [{"name": "orders", "port": 81}]}],
    },
}
custom.create_namespaced_custom_object(*gateway, route)
for event in watch.Watch().stream(custom.list_namespaced_custom_object, *gateway, timeout_seconds=20):
    parents = event["object"].get("status", {}).get("parents", [])
    if any(c["type"] == "Accepted" and c["status"] == "True" for p in parents for c in p["conditions"]):
        break
else:
    raise AssertionError("the route was not accepted")
route["spec"]["rules"][0]["backendRefs"][0]["weight"] = -1
assert "weight" in refused(422, custom.patch_namespaced_custom_object, *gateway, "orders", route)

# The dynamic client finds kinds by discovery, and applies on the server.
dynamic_client = dynamic.DynamicClient(client.ApiClient(), cache_file=f"{sys.argv[2]}/discovery.json")
policies = dynamic_client.resources.get(api_version="outrigger.dev/v1alpha1", kind="TrafficPolicy")
policy = {
    "apiVersion": "outrigger.dev/v1alpha1",
    "kind": "TrafficPolicy",
    "metadata": {"name": "orders", "namespace": NAMESPACE},
    "spec": {"targetRefs": [{"kind": "Service", "name": "orders"}], "loadBalancing": {"policy": "LeastRequest"}},
}
applied = policies.server_side_apply(body=policy, name="orders", namespace=NAMESPACE, field_manager="python")
assert applied.spec.loadBalancing.policy == "LeastRequest"
policy["spec"]["loadBalancing"]["policy"] = "RoundRobin"
try:
    policies.server_side_apply(body=policy, name="orders", namespace=NAMESPACE, field_manager="other")
    raise AssertionError("a field of another manager was taken over")
except dynamic.exceptions.ConflictError as error:
    assert "python" in str(error.body), error.body
forced = policies.server_side_apply(
    body=policy, name="orders", namespace=NAMESPACE, field_manager="other", force_conflicts=True
)
assert forced.spec.loadBalancing.policy == "RoundRobin"
assert policies.get(namespace=NAMESPACE).items[0].metadata.name == "orders"

# Manifests as they come, and rights.
utils.create_from_dict(
    client.ApiClient(),
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": NAMESPACE}, "stringData": {"a": "b"}},
)
assert core.read_namespaced_secret("s", NAMESPACE).data == {"a": "Yg=="}
review = client.V1SelfSubjectAccessReview(
    spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(verb="create", resource="services", namespace=NAMESPACE)
    )
)
assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed

# A namespace takes with it what is in it.
core.delete_collection_namespaced_config_map(NAMESPACE)
assert core.list_namespaced_config_map(NAMESPACE).items == []
core.delete_namespace(NAMESPACE)
for event in watch.Watch().stream(core.list_namespace, field_selector=f"metadata.name={NAMESPACE}", timeout_seconds=20):
    if event["type"] == "DELETED":
        break
refused(404, core.read_namespaced_service, "orders", NAMESPACE)
print("ok")

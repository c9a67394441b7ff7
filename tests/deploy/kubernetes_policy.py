"""What our manifests promise beyond their schemas. Each policy is a function from a Manifest to
messages; POLICIES names them, and kubernetes_test.py breaks each one on purpose."""

import re

PORT, NAME = "port", "name"
POLICIES = {}


def policy(function):
    POLICIES[function.__name__] = function
    return function


class Manifest:
    """Rendered objects, and the daemon's configuration that their ConfigMap applies: `config` has
    every key, as `alccad --print-config` says it. It is None if alccad refuses the file; then
    `refusal` says why."""

    def __init__(self, objects, config, refusal=""):
        self.objects, self.config, self.refusal = objects, config, refusal

    def kind(self, *kinds):
        return [o for o in self.objects if o["kind"] in kinds]

    def pods(self):
        """(name of the owner, pod spec, pod labels) of all that runs."""
        for o in self.kind("Deployment", "Job", "CronJob"):
            spec = o["spec"]["jobTemplate"]["spec"] if o["kind"] == "CronJob" else o["spec"]
            template = spec["template"]
            yield o["metadata"]["name"], template["spec"], template["metadata"].get("labels", {})

    def containers(self):
        for owner, spec, _ in self.pods():
            for container in spec.get("initContainers", []) + spec["containers"]:
                yield f"{owner}/{container['name']}", container

    def server(self):
        """The deployment, its pod spec and the daemon's container."""
        deployment = next(o for o in self.kind("Deployment")
                          if o["metadata"]["name"] == "alcca-server")
        spec = deployment["spec"]["template"]["spec"]
        return deployment, spec, next(c for c in spec["containers"] if c["name"] == "alccad")


def matches(selector, labels):
    labels_wanted = selector.get("matchLabels", selector)
    return all(labels.get(key) == value for key, value in labels_wanted.items())


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)([KMGT]i)?", quantity).groups()
    return int(number) << (10 * " KMGT".index(unit[0]) if unit else 0)


@policy
def restricted_pods(m):
    """Pod Security Standards, profile restricted, and a user that is ours."""
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
               "projected", "secret"}
    for owner, spec, _ in m.pods():
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 65532:
            yield f"{owner}: does not run as user 65532, not root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{owner}: seccompProfile is not RuntimeDefault"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{owner}: {key}"
        for volume in spec.get("volumes", []):
            if not allowed & set(volume):
                yield f"{owner}: volume {volume['name']} is of a type that is not allowed"
    for name, container in m.containers():
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation is not false"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: capabilities are not exactly drop ALL"
        if context.get("privileged") or context.get("runAsUser", 65532) != 65532:
            yield f"{name}: privileged, or of another user"
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{name}: hostPort"


@policy
def read_only_root(m):
    for name, container in m.containers():
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name}: its root filesystem can be written"


@policy
def namespace_enforces_restricted(m):
    for o in m.kind("Namespace"):
        labels = o["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{o['metadata']['name']}: does not enforce restricted"
    if not m.kind("Namespace"):
        yield "no namespace"


@policy
def no_rights_in_the_cluster(m):
    for owner, spec, _ in m.pods():
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{owner}: mounts a service account token"
    for o in m.kind("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        yield f"{o['kind']} {o['metadata']['name']}: the daemon needs no rights"


@policy
def resources_are_set(m):
    for name, container in m.containers():
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if not {"cpu", "memory"} <= set(requests) or "memory" not in limits:
            yield f"{name}: needs requests of cpu and memory, and a memory limit"
        elif requests["memory"] != limits["memory"]:
            yield f"{name}: memory request and limit differ: what is granted may be taken away"
        if limits.get("nvidia.com/gpu") != requests.get("nvidia.com/gpu"):
            yield f"{name}: GPU request and limit differ"


@policy
def probes_ask_health_services(m):
    """Three gRPC probes, of services that the daemon has, on a port that answers in plaintext."""
    _, _, container = m.server()
    wanted = {"startupProbe": "alcca.v1.Inference", "readinessProbe": "readiness",
              "livenessProbe": "liveness"}
    tls = bool(m.config and m.config["tls_cert"])
    address = m.config and (m.config["health_listen"] if tls else m.config["listen"])
    for probe, service in wanted.items():
        grpc = container.get(probe, {}).get("grpc")
        if grpc is None:
            yield f"{probe}: there is none that speaks gRPC"
        elif grpc.get("service") != service:
            yield f"{probe}: asks for '{grpc.get('service')}', not '{service}'"
        elif address is not None and (not address or grpc["port"] != port_of(address)):
            yield f"{probe}: port {grpc['port']} does not answer health in plaintext ('{address}')"
    liveness = container.get("livenessProbe", {})
    if liveness.get("terminationGracePeriodSeconds", 10**6) > 60:
        yield "livenessProbe: a stuck process cannot drain, and gets the grace period for it"


@policy
def grace_covers_the_drain(m):
    _, spec, container = m.server()
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if sleep < 5:
        yield f"preStop sleeps {sleep} s: endpoints still send requests when the drain begins"
    drain = m.config["drain_timeout_seconds"] if m.config else 0
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if grace < sleep + drain + 5:
        yield f"grace {grace} s is below preStop {sleep} s + drain {drain} s + 5 s"


@policy
def configuration_is_accepted(m):
    if m.config is None:
        yield f"alccad refuses the ConfigMap's file: {m.refusal}"


@policy
def configuration_fits_the_container(m):
    if m.config is None:
        return
    _, _, container = m.server()
    ports = {p[NAME]: p["containerPort"] for p in container["ports"]}
    for key, name in (("listen", "grpc"), ("metrics_listen", "metrics"),
                      ("health_listen", "health")):
        address = m.config[key]
        if (name in ports) != bool(address) or address and ports[name] != port_of(address):
            yield f"{key} '{address}' is not the container's port '{name}' ({ports.get(name)})"
        if address and not address.startswith(("0.0.0.0:", "[::]:")):
            yield f"{key} '{address}' is not reachable from outside the pod"
    if str(m.config["threads"]) != str(container["resources"]["requests"].get("cpu")):
        yield "threads is not the CPU request: the daemon takes a thread for each core of the node"
    mounts = [v["mountPath"] for v in container["volumeMounts"]]
    for key in ("model", "tls_cert", "tls_key", "tls_client_ca"):
        path = m.config[key]
        if path and not any(path == mount or path.startswith(mount + "/") for mount in mounts):
            yield f"{key}: nothing is mounted at {path}"
    gpu = "nvidia.com/gpu" in container["resources"].get("limits", {})
    if gpu != (m.config["device"] == "cuda"):
        yield f"device is {m.config['device']}, GPU asked for: {gpu}"
    memory = container["resources"]["limits"].get("memory", "0")
    if not gpu and m.config["kv_cache_bytes"] + (512 << 20) > bytes_of(memory):
        yield f"kv_cache_bytes + 0.5 GiB is above the memory limit {memory}"


@policy
def images_are_pinned(m):
    for name, container in m.containers():
        image = container["image"].rsplit("/", 1)[-1]
        tag = image.split(":", 1)[1] if ":" in image else ""
        if "@sha256:" not in container["image"] and (not tag or tag.startswith("latest")):
            yield f"{name}: image {container['image']} is not pinned"
    own = {c["image"] for _, c in m.containers() if c["image"].startswith("alcca-server")}
    if len(own) > 1:
        yield f"two versions of our image: {sorted(own)}"


@policy
def selectors_match(m):
    """Whoever selects pods selects the server's, or a job's, and their ports exist."""
    deployment, _, container = m.server()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    everyone = [pod_labels for _, _, pod_labels in m.pods()]
    ports = {p[NAME] for p in container["ports"]}
    if "app.kubernetes.io/version" in deployment["spec"]["selector"]["matchLabels"]:
        yield "the deployment's selector holds the version: selectors cannot change"
    for o in m.kind("Deployment", "PodDisruptionBudget", "PodMonitor", "InferencePool", "Service"):
        if not matches(o["spec"]["selector"], labels):
            yield f"{o['kind']} {o['metadata']['name']}: selects no pod of the server"
    for o in m.kind("NetworkPolicy"):
        if not any(matches(o["spec"]["podSelector"], pod) for pod in everyone):
            yield f"NetworkPolicy {o['metadata']['name']}: selects no pod"
    named = [(o, p["targetPort"]) for o in m.kind("Service") for p in o["spec"]["ports"]]
    named += [(o, p[PORT]) for o in m.kind("PodMonitor") for p in o["spec"]["podMetricsEndpoints"]]
    named += [(o, p[PORT]) for o in m.kind("NetworkPolicy") for rule in o["spec"].get("ingress", [])
              for p in rule.get("ports", [])]
    for o, name in named:
        if name not in ports:
            yield f"{o['kind']} {o['metadata']['name']}: no port of the container is named '{name}'"
    for o in m.kind("Deployment"):
        for constraint in o["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if not matches(constraint["labelSelector"], labels):
                yield "topologySpreadConstraints: count other pods than their own"


@policy
def references_resolve(m):
    there = {(o["kind"], o["metadata"]["name"]) for o in m.objects}
    for owner, spec, _ in m.pods():
        for volume in spec.get("volumes", []):
            for key, field, kind in (
                    ("configMap", "name", "ConfigMap"),
                    ("persistentVolumeClaim", "claimName", "PersistentVolumeClaim")):
                if key in volume and (kind, volume[key][field]) not in there:
                    yield f"{owner}: no {kind} {volume[key][field]}"
        if ("ServiceAccount", spec.get("serviceAccountName")) not in there:
            yield f"{owner}: no service account {spec.get('serviceAccountName')}"
    for o in m.kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = o["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) not in there:
            yield f"{o['kind']}: no {target['kind']} {target['name']}"
    for o in m.kind("GRPCRoute"):
        for rule in o["spec"]["rules"]:
            for ref in rule["backendRefs"]:
                if (ref.get("kind", "Service"), ref["name"]) not in there:
                    yield f"GRPCRoute: no {ref.get('kind', 'Service')} {ref['name']}"
    namespaces = {o["metadata"]["name"] for o in m.kind("Namespace")}
    for o in m.objects:
        if o["kind"] != "Namespace" and o["metadata"].get("namespace") not in namespaces:
            yield f"{o['kind']} {o['metadata']['name']}: is in no namespace of ours"


@policy
def services_speak_http2(m):
    tls = bool(m.config and m.config["tls_cert"])
    for o in m.kind("Service"):
        for port in o["spec"]["ports"]:
            wanted = "https" if tls else "kubernetes.io/h2c"
            if port.get("appProtocol") != wanted:
                yield f"Service {o['metadata']['name']}: appProtocol is not {wanted}"
    if not any(o["spec"].get("clusterIP") == "None" for o in m.kind("Service")):
        yield "no headless service: clients cannot balance for themselves"


@policy
def network_is_closed(m):
    """Every pod is under a policy for both directions; the server's lets nothing out."""
    for owner, _, labels in m.pods():
        mine = [o["spec"] for o in m.kind("NetworkPolicy")
                if matches(o["spec"]["podSelector"], labels)]
        if not any({"Ingress", "Egress"} <= set(spec["policyTypes"]) for spec in mine):
            yield f"{owner}: no network policy for both directions"
        if owner == "alcca-server" and any(spec.get("egress") for spec in mine):
            yield f"{owner}: may call out"


@policy
def metrics_reach_the_picker(m):
    """An endpoint picker runs in the pool's namespace, and scrapes the pods of the pool."""
    for o in m.kind("InferencePool"):
        if not any({} in [peer.get("podSelector") for peer in rule["from"]
                          if "namespaceSelector" not in peer]
                   and "metrics" in [p[PORT] for p in rule["ports"]]
                   for policy in m.kind("NetworkPolicy")
                   if matches(policy["spec"]["podSelector"], o["spec"]["selector"]["matchLabels"])
                   for rule in policy["spec"]["ingress"]):
            yield f"InferencePool {o['metadata']['name']}: its picker cannot scrape"


@policy
def one_replica_goes_at_a_time(m):
    budgets = m.kind("PodDisruptionBudget")
    if not budgets or any(o["spec"].get("maxUnavailable") != 1 for o in budgets):
        yield "no budget of maxUnavailable 1"
    if len(m.kind("HorizontalPodAutoscaler", "ScaledObject")) > 1:
        yield "two autoscalers of one deployment"
    deployment = m.server()[0]
    if m.kind("HorizontalPodAutoscaler", "ScaledObject") and "replicas" in deployment["spec"]:
        yield "the deployment sets replicas beside an autoscaler: each apply resets it"


@policy
def models_are_verified_and_read_only(m):
    """Whoever mounts a model into the daemon compares it first."""
    _, spec, container = m.server()
    if not (m.config and m.config["model"]):
        return
    mount = next((v for v in container["volumeMounts"] if v["mountPath"] == m.config["model"]), {})
    if mount.get("readOnly") is not True:
        yield "the daemon can write its model"
    verify = [c for c in spec.get("initContainers", [])
              if c["command"][:3] == ["/usr/bin/alcca", "verify", m.config["model"]]
              and any(v[NAME] == mount.get(NAME) for v in c["volumeMounts"])]
    if not verify:
        yield "no init container compares the model with its sums"


@policy
def can_be_applied_again(m):
    """With another configuration, model or image: a Job's template holds them."""
    for o in m.kind("Job"):
        yield f"Job {o['metadata']['name']}: its template is immutable"
    for o in m.kind("CronJob"):
        if o["spec"].get("suspend") is not True:
            yield f"CronJob {o['metadata']['name']}: runs when nobody asked for it"


def claims(spec):
    return {v["persistentVolumeClaim"]["claimName"] for v in spec.get("volumes", [])
            if "persistentVolumeClaim" in v}


@policy
def volumes_are_filled_where_they_are_read(m):
    """Whoever else mounts the server's volume goes to the node of a server's pod: elsewhere it
    could bind the volume to a zone without a GPU, or wait for one that is mounted already."""
    deployment, server, _ = m.server()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for owner, spec, _ in m.pods():
        if spec is server or not claims(spec) & claims(server):
            continue
        terms = spec.get("affinity", {}).get("podAffinity", {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", [])
        if not any(term["topologyKey"] == "kubernetes.io/hostname"
                   and matches(term["labelSelector"], labels) for term in terms):
            yield f"{owner}: may run on a node that the server cannot"
        for toleration in server.get("tolerations", []):
            if toleration not in spec.get("tolerations", []):
                yield f"{owner}: does not tolerate {toleration['key']} as the server does"


def metrics_named(m):
    """Names of our metrics in autoscalers: kubernetes_test.py looks for them in a live scrape."""
    names = set()
    for o in m.kind("HorizontalPodAutoscaler"):
        names |= {metric["pods"]["metric"]["name"] for metric in o["spec"]["metrics"]}
    for o in m.kind("ScaledObject"):
        for trigger in o["spec"]["triggers"]:
            names |= set(re.findall(r"\balcca_\w+", trigger["metadata"]["query"]))
    return names

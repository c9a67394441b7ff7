"""Manifests broken on purpose, one mistake each: what the policies and schemas must notice."""


def of(objects, kind, name=None):
    return next(o for o in objects
                if o["kind"] == kind and name in (None, o["metadata"]["name"]))


def pod(objects, kind="Deployment"):
    spec = of(objects, kind)["spec"]
    return (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]["spec"]


def daemon(objects):
    return next(c for c in pod(objects)["containers"] if c["name"] == "alccad")


def configure(objects, old, new):
    """Edits the daemon's YAML."""
    for o in objects:
        if o["kind"] == "ConfigMap" and "alccad.yaml" in o["data"]:
            text = o["data"]["alccad.yaml"]
            assert old in text, (old, text)
            o["data"]["alccad.yaml"] = text.replace(old, new)


def mutation(policy, overlay, doc, change):
    change.__doc__ = doc
    return policy, overlay, change


def delete(dictionary, *path):
    for key in path[:-1]:
        dictionary = dictionary[key]
    del dictionary[path[-1]]


def put(dictionary, *path):
    """put(d, "a", "b", value)"""
    for key in path[:-2]:
        dictionary = dictionary[key]
    dictionary[path[-2]] = path[-1]


_ALL = "restricted_pods"
_FIT = "configuration_fits_the_container"
_PROBES = "probes_ask_health_services"
_SELECT = "selectors_match"
_WHERE = "volumes_are_filled_where_they_are_read"
MUTATIONS = [
    mutation(_ALL, "cpu-demo", "root", lambda o: put(pod(o), "securityContext", "runAsUser", 0)),
    mutation(_ALL, "cpu-demo", "any user",
             lambda o: delete(pod(o), "securityContext", "runAsNonRoot")),
    mutation(_ALL, "cpu-demo", "no seccomp",
             lambda o: delete(pod(o), "securityContext", "seccompProfile")),
    mutation(_ALL, "cpu-demo", "host network", lambda o: put(pod(o), "hostNetwork", True)),
    mutation(_ALL, "cpu-demo", "host path",
             lambda o: pod(o)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    mutation(_ALL, "cpu-demo", "privilege escalation",
             lambda o: delete(daemon(o), "securityContext", "allowPrivilegeEscalation")),
    mutation(_ALL, "cpu-demo", "capabilities",
             lambda o: put(daemon(o), "securityContext", "capabilities", {"drop": ["NET_RAW"]})),
    mutation(_ALL, "gpu", "privileged init container",
             lambda o: put(pod(o)["initContainers"][0], "securityContext", "privileged", True)),
    mutation(_ALL, "gpu", "job as root",
             lambda o: put(pod(o, "CronJob"), "securityContext", "runAsUser", 0)),
    mutation(_ALL, "cpu-demo", "host port",
             lambda o: put(daemon(o)["ports"][0], "hostPort", 50051)),
    mutation("read_only_root", "gpu", "writable root of the verifier",
             lambda o: delete(pod(o)["initContainers"][0], "securityContext",
                              "readOnlyRootFilesystem")),
    mutation("namespace_enforces_restricted", "cpu-demo", "baseline namespace",
             lambda o: put(of(o, "Namespace"), "metadata", "labels",
                           "pod-security.kubernetes.io/enforce", "baseline")),
    mutation("no_rights_in_the_cluster", "cpu-demo", "token mounted",
             lambda o: delete(pod(o), "automountServiceAccountToken")),
    mutation("no_rights_in_the_cluster", "cpu-demo", "a role",
             lambda o: o.append({"kind": "Role", "metadata": {"name": "r"}})),
    mutation("resources_are_set", "cpu-demo", "no memory limit",
             lambda o: delete(daemon(o), "resources", "limits", "memory")),
    mutation("resources_are_set", "cpu-demo", "memory overcommitted",
             lambda o: put(daemon(o), "resources", "limits", "memory", "8Gi")),
    mutation("resources_are_set", "gpu", "GPU limit apart",
             lambda o: put(daemon(o), "resources", "limits", "nvidia.com/gpu", "2")),
    mutation("resources_are_set", "gpu", "init container without resources",
             lambda o: delete(pod(o)["initContainers"][0], "resources")),
    mutation(_PROBES, "cpu-demo", "TCP readiness",
             lambda o: put(daemon(o), "readinessProbe", {"tcpSocket": {"port": 50051}})),
    mutation(_PROBES, "cpu-demo", "unknown service",
             lambda o: put(daemon(o), "livenessProbe", "grpc", "service", "alive")),
    mutation(_PROBES, "cpu-demo", "no startup probe", lambda o: delete(daemon(o), "startupProbe")),
    mutation(_PROBES, "tls", "probe on the TLS port",
             lambda o: put(daemon(o), "readinessProbe", "grpc", "port", 50051)),
    mutation(_PROBES, "tls", "no health port", lambda o: configure(o, "health_listen", "# ")),
    mutation(_PROBES, "cpu-demo", "a stuck pod drains",
             lambda o: delete(daemon(o), "livenessProbe", "terminationGracePeriodSeconds")),
    mutation("grace_covers_the_drain", "cpu-demo", "short grace",
             lambda o: put(pod(o), "terminationGracePeriodSeconds", 130)),
    mutation("grace_covers_the_drain", "cpu-demo", "long drain",
             lambda o: configure(o, "drain_timeout_seconds: 120", "drain_timeout_seconds: 300")),
    mutation("grace_covers_the_drain", "cpu-demo", "no preStop",
             lambda o: delete(daemon(o), "lifecycle")),
    mutation("configuration_is_accepted", "cpu-demo", "unknown key",
             lambda o: configure(o, "threads: 2", "threds: 2")),
    mutation("configuration_is_accepted", "tls", "certificate without key",
             lambda o: configure(o, "tls_key:", "# ")),
    mutation(_FIT, "cpu-demo", "another port", lambda o: configure(o, ":50051", ":50052")),
    mutation(_FIT, "cpu-demo", "loopback",
             lambda o: configure(o, "0.0.0.0:9090", "127.0.0.1:9090")),
    mutation(_FIT, "cpu-demo", "threads of the node",
             lambda o: configure(o, "threads: 2", "threads: 0")),
    mutation(_FIT, "tls", "secret not mounted",
             lambda o: configure(o, "/etc/alcca-tls/tls.key", "/etc/other/tls.key")),
    mutation(_FIT, "gpu", "GPU for the CPU", lambda o: configure(o, "device: cuda", "device: cpu")),
    mutation(_FIT, "cpu-demo", "cache above the limit",
             lambda o: configure(o, "kv_cache_bytes: 268435456", "kv_cache_bytes: 1073741824")),
    mutation("images_are_pinned", "cpu-demo", "latest",
             lambda o: put(daemon(o), "image", "alcca-server:latest")),
    mutation("images_are_pinned", "cpu-demo", "no tag",
             lambda o: put(daemon(o), "image", "registry.example:5000/alcca-server")),
    mutation("images_are_pinned", "gpu", "two versions",
             lambda o: put(pod(o)["initContainers"][0], "image", "alcca-server:0.0.9")),
    mutation(_SELECT, "cpu-demo", "budget of nobody",
             lambda o: put(of(o, "PodDisruptionBudget"), "spec", "selector", "matchLabels",
                           {"app": "x"})),
    mutation(_SELECT, "cpu-demo", "service of nobody",
             lambda o: put(of(o, "Service", "alcca"), "spec", "selector", {"app": "x"})),
    mutation(_SELECT, "replicas", "monitor of a port that is not there",
             lambda o: put(of(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0], "port", "http")),
    mutation(_SELECT, "replicas", "spread of others",
             lambda o: put(pod(o)["topologySpreadConstraints"][0], "labelSelector", "matchLabels",
                           {"app": "x"})),
    mutation(_SELECT, "gpu-replicas", "pool of nobody",
             lambda o: put(of(o, "InferencePool"), "spec", "selector", "matchLabels",
                           {"app": "x"})),
    mutation(_SELECT, "cpu-demo", "version in the selector",
             lambda o: put(of(o, "Deployment"), "spec", "selector", "matchLabels",
                           "app.kubernetes.io/version", "0.1.0")),
    mutation("references_resolve", "replicas", "scales nobody",
             lambda o: put(of(o, "ScaledObject"), "spec", "scaleTargetRef", "name", "x")),
    mutation("references_resolve", "gpu", "claim that is not there",
             lambda o: o.remove(of(o, "PersistentVolumeClaim"))),
    mutation("references_resolve", "gpu-replicas", "route to nobody",
             lambda o: put(of(o, "GRPCRoute")["spec"]["rules"][0]["backendRefs"][0], "name", "x")),
    mutation("references_resolve", "gpu", "another namespace",
             lambda o: put(of(o, "CronJob"), "metadata", "namespace", "default")),
    mutation("services_speak_http2", "cpu-demo", "HTTP/1",
             lambda o: delete(of(o, "Service", "alcca")["spec"]["ports"][0], "appProtocol")),
    mutation("services_speak_http2", "tls", "h2c before TLS",
             lambda o: put(of(o, "Service", "alcca")["spec"]["ports"][0], "appProtocol",
                           "kubernetes.io/h2c")),
    mutation("services_speak_http2", "cpu-demo", "not headless",
             lambda o: o.remove(of(o, "Service", "alcca-headless"))),
    mutation("network_is_closed", "cpu-demo", "no policy",
             lambda o: o.remove(of(o, "NetworkPolicy"))),
    mutation("network_is_closed", "cpu-demo", "egress",
             lambda o: put(of(o, "NetworkPolicy"), "spec", "egress", [{}])),
    mutation("network_is_closed", "gpu", "job without a policy",
             lambda o: o.remove(of(o, "NetworkPolicy", "model-download"))),
    mutation("metrics_reach_the_picker", "gpu-replicas", "metrics for other namespaces alone",
             lambda o: delete(of(o, "NetworkPolicy", "alcca-server"), "spec", "ingress", -1)),
    mutation("metrics_reach_the_picker", "gpu-replicas", "of pods with a label",
             lambda o: put(of(o, "NetworkPolicy", "alcca-server")["spec"]["ingress"][-1], "from",
                           [{"podSelector": {"matchLabels": {"app": "x"}}}])),
    mutation("one_replica_goes_at_a_time", "cpu-demo", "no budget",
             lambda o: o.remove(of(o, "PodDisruptionBudget"))),
    mutation("one_replica_goes_at_a_time", "replicas", "replicas beside an autoscaler",
             lambda o: put(of(o, "Deployment"), "spec", "replicas", 3)),
    mutation("one_replica_goes_at_a_time", "replicas", "two autoscalers",
             lambda o: o.append({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"},
                                 "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x"},
                                          "metrics": []}})),
    mutation("models_are_verified_and_read_only", "gpu", "writable model",
             lambda o: put(next(v for v in daemon(o)["volumeMounts"] if v["name"] == "model"),
                           "readOnly", False)),
    mutation("models_are_verified_and_read_only", "gpu", "not verified",
             lambda o: delete(pod(o), "initContainers")),
    mutation("can_be_applied_again", "gpu", "a job",
             lambda o: o.append({"kind": "Job", "metadata": {"name": "x"},
                                 "spec": of(o, "CronJob")["spec"]["jobTemplate"]["spec"]})),
    mutation("can_be_applied_again", "gpu", "a download every year",
             lambda o: delete(of(o, "CronJob"), "spec", "suspend")),
    mutation(_WHERE, "gpu", "download on any node",
             lambda o: delete(pod(o, "CronJob"), "affinity")),
    mutation(_WHERE, "gpu", "download in the same zone",
             lambda o: put(pod(o, "CronJob")["affinity"]["podAffinity"]
                           ["requiredDuringSchedulingIgnoredDuringExecution"][0],
                           "topologyKey", "topology.kubernetes.io/zone")),
    mutation(_WHERE, "gpu", "download that GPU nodes turn away",
             lambda o: delete(pod(o, "CronJob"), "tolerations")),
]

# (overlay, kind, change, what the message holds). One unknown field or wrong type for every kind.
SCHEMA_MUTATIONS = [
    ("cpu-demo", "Deployment", lambda o: put(o, "spec", "replica", 2), "replica"),
    ("cpu-demo", "Deployment",
     lambda o: put(o["spec"]["template"]["spec"]["containers"][0], "readinessProbe", "grpc", "port",
                   "grpc"), "'grpc' is not of type 'integer'"),
    ("cpu-demo", "Deployment", lambda o: delete(o, "spec", "selector"), "selector"),
    ("cpu-demo", "Service",
     lambda o: put(o["spec"]["ports"][0], "appprotocol", "x"), "appprotocol"),
    ("cpu-demo", "Namespace", lambda o: put(o, "metadata", "label", {}), "label"),
    ("cpu-demo", "ServiceAccount", lambda o: put(o, "automountServiceAccountToken", "no"), "'no'"),
    ("cpu-demo", "ConfigMap", lambda o: put(o, "data", "n", 1), "1 is not"),
    ("cpu-demo", "PodDisruptionBudget",
     lambda o: put(o, "spec", "maxUnavailble", 1), "maxUnavailble"),
    ("cpu-demo", "NetworkPolicy", lambda o: put(o, "spec", "policyTypes", "Egress"), "'Egress'"),
    ("gpu", "PersistentVolumeClaim", lambda o: put(o, "spec", "accessMode", []), "accessMode"),
    ("gpu", "CronJob",
     lambda o: put(o, "spec", "jobTemplate", "spec", "backoffLimit", "4"), "'4'"),
    ("replicas", "PodMonitor",
     lambda o: put(o["spec"]["podMetricsEndpoints"][0], "intervall", "15s"), "intervall"),
    ("replicas", "PodMonitor", lambda o: delete(o, "spec", "selector"), "selector"),
    ("replicas", "PrometheusRule",
     lambda o: put(o["spec"]["groups"][0]["rules"][0], "expression", "x"), "expression"),
    ("replicas", "PrometheusRule",
     lambda o: delete(o["spec"]["groups"][0]["rules"][0], "expr"), "expr"),
    ("replicas", "ScaledObject", lambda o: put(o, "spec", "minReplicas", 1), "minReplicas"),
    ("replicas", "ScaledObject", lambda o: delete(o, "spec", "triggers"), "triggers"),
    ("replicas", "ScaledObject",
     lambda o: put(o["spec"]["triggers"][0], "metadata", "threshold", 4),
     "4 is not"),
    ("gpu-replicas", "HorizontalPodAutoscaler",
     lambda o: put(o, "spec", "maxReplicas", "8"), "'8'"),
    ("gpu-replicas", "InferencePool", lambda o: put(o, "spec", "targetPort", 1), "targetPort"),
    ("gpu-replicas", "InferencePool",
     lambda o: delete(o, "spec", "endpointPickerRef", "port"), "port"),
    ("gpu-replicas", "InferencePool", lambda o: put(o, "spec", "appProtocol", "h2c"), "h2c"),
    ("gpu-replicas", "GRPCRoute",
     lambda o: put(o["spec"]["rules"][0]["matches"][0]["method"], "verb", "x"), "verb"),
    ("gpu-replicas", "GRPCRoute",
     lambda o: delete(o["spec"]["rules"][1]["backendRefs"][0], "port"), "port"),
]

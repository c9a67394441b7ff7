"""deploy/kubernetes, offline: every overlay renders, fits the schemas of its APIs, keeps our
policies, and its ConfigMap is one that the real alccad accepts. Each policy and each kind of schema
is also broken on purpose, and must notice. Run by tests/in_venv.sh.

Usage: kubernetes_test.py SOURCE ALCCAD ALCCA KUBECTL"""

import copy
import fnmatch
import functools
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import yaml

import kubernetes_policy
import kubernetes_schemas
from kubernetes_mutations import MUTATIONS, SCHEMA_MUTATIONS

SOURCE, ALCCAD, ALCCA, KUBECTL = sys.argv[1:5]
ROOT = pathlib.Path(SOURCE) / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in (ROOT / "overlays").iterdir())


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def render(overlay):
    result = run(KUBECTL, "kustomize", str(ROOT / "overlays" / overlay))
    if result.returncode != 0 or "Warning" in result.stderr:
        raise AssertionError(f"{overlay}: {result.stderr}")
    return list(yaml.safe_load_all(result.stdout))


def configuration(objects):
    """The YAML text that the daemon's container reads."""
    spec = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]["spec"]
    name = next(v for v in spec["volumes"] if v["name"] == "config")["configMap"]["name"]
    maps = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ConfigMap"}
    return maps[name]["data"]["alccad.yaml"]


@functools.cache
def accepted(text):
    """(what applies, None) or (None, why alccad refuses the file)."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        result = run(ALCCAD, "--config", file.name, "--print-config")
    if result.returncode != 0:
        return None, result.stderr.strip()
    return yaml.safe_load(result.stdout), None


def violations(objects, name):
    m = kubernetes_policy.Manifest(objects, *accepted(configuration(objects)))
    return list(kubernetes_policy.POLICIES[name](m))


RENDERED = {overlay: render(overlay) for overlay in OVERLAYS}


class Daemon:
    """The real one, on free ports, with the configuration of an overlay."""

    def __init__(self, text, *flags):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.file.write(text)
        self.file.flush()
        self.process = subprocess.Popen(
            [ALCCAD, "--config", self.file.name, "--listen=127.0.0.1:0",
             "--metrics-listen=127.0.0.1:0", *flags], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.grpc, self.metrics, self.health = re.match(
            r"listening grpc=(\S+) metrics=(\S+)(?: health=(\S+))?", line).groups()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.exit_code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.file.close()


class Kubernetes(unittest.TestCase):
    def test_every_component_is_in_an_overlay(self):
        used = set()
        for overlay in OVERLAYS:
            text = yaml.safe_load((ROOT / "overlays" / overlay / "kustomization.yaml").read_text())
            used |= {pathlib.Path(path).name for path in text.get("components", [])}
        self.assertEqual(used, {path.name for path in (ROOT / "components").iterdir()})

    def test_schemas(self):
        for overlay, objects in RENDERED.items():
            for obj in objects:
                self.assertEqual(kubernetes_schemas.problems(obj), [], overlay)

    def test_no_object_twice(self):
        for overlay, objects in RENDERED.items():
            names = [(o["kind"], o["metadata"]["name"]) for o in objects]
            self.assertEqual(len(names), len(set(names)), overlay)

    def test_plain_clusters_can_apply_the_base(self):
        """Without an API that needs to be installed first."""
        for overlay in ("cpu-demo", "gpu", "tls"):
            for obj in RENDERED[overlay]:
                self.assertNotIn((obj["apiVersion"], obj["kind"]), kubernetes_schemas.CUSTOM)

    def test_schemas_notice(self):
        for (overlay, kind, broken, wanted) in SCHEMA_MUTATIONS:
            with self.subTest(kind=kind, wanted=wanted):
                obj = copy.deepcopy(next(o for o in RENDERED[overlay] if o["kind"] == kind))
                broken(obj)
                found = kubernetes_schemas.problems(obj)
                self.assertTrue(any(wanted in message for message in found), found)

    def test_every_kind_has_a_schema_that_notices(self):
        kinds = {o["kind"] for objects in RENDERED.values() for o in objects}
        self.assertEqual(kinds - {kind for _, kind, _, _ in SCHEMA_MUTATIONS}, set())

    def test_policies(self):
        for overlay, objects in RENDERED.items():
            for name in kubernetes_policy.POLICIES:
                self.assertEqual(violations(objects, name), [], f"{overlay}: {name}")

    def test_policies_notice(self):
        self.assertEqual(set(kubernetes_policy.POLICIES), {name for name, *_ in MUTATIONS})
        for name, overlay, broken in MUTATIONS:
            with self.subTest(policy=name, mutation=broken.__doc__):
                objects = copy.deepcopy(RENDERED[overlay])
                broken(objects)
                self.assertNotEqual(violations(objects, name), [], broken.__doc__)

    def test_the_demo_serves_and_what_manifests_name_exists(self):
        """Health services, metrics and methods, asked of the daemon itself."""
        with Daemon(configuration(RENDERED["cpu-demo"])) as daemon:
            probes = next(o for o in RENDERED["cpu-demo"] if o["kind"] == "Deployment")
            container = probes["spec"]["template"]["spec"]["containers"][0]
            services = {container[p]["grpc"]["service"]
                        for p in ("startupProbe", "readinessProbe", "livenessProbe")}
            self.assertEqual(len(services), 3)
            for service in services:
                answer = run(ALCCA, "health", "--target", daemon.grpc, "--service", service)
                self.assertEqual(answer.returncode, 0, f"{service}: {answer.stderr}")
            answer = run(ALCCA, "health", "--target", daemon.grpc, "--service", "no.such")
            self.assertEqual(answer.returncode, 5, "an unknown service must be NOT_FOUND")
            with urllib.request.urlopen(f"http://{daemon.metrics}/metrics", timeout=60) as reply:
                scraped = set(re.findall(r"^(\w+)", reply.read().decode(), re.MULTILINE))
            named = set()
            for objects in RENDERED.values():
                named |= kubernetes_policy.metrics_named(kubernetes_policy.Manifest(objects, None))
            self.assertGreaterEqual(len(named), 3)
            self.assertEqual(named - scraped, set())
            reply = run(ALCCA, "generate", "--target", daemon.grpc, "--max-tokens", "4", "Once")
            self.assertEqual(reply.returncode, 0, reply.stderr)
        self.assertEqual(daemon.exit_code, 0)

    def test_a_certificate_of_the_pages_names_serves_whoever_dials_them(self):
        page = (pathlib.Path(SOURCE) / "docs/kubernetes.md").read_text()
        shown = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.S))
        certificate = next(o for o in shown if o["kind"] == "Certificate")
        secret = next(v["secret"]["secretName"] for v in
                      kubernetes_policy.Manifest(RENDERED["tls"], None).server()[1]["volumes"]
                      if "secret" in v)
        self.assertEqual(certificate["spec"]["secretName"], secret)
        names = certificate["spec"]["dnsNames"]
        hosts = [f"{o['metadata']['name']}.{o['metadata']['namespace']}.svc"
                 for o in RENDERED["tls"] if o["kind"] == "Service"]
        self.assertEqual(sorted(names), sorted(hosts + [f"{h}.cluster.local" for h in hosts]))
        command = re.search(r"^alcca (health .*--tls-server-name) (\S+)$", page, re.MULTILINE)
        self.assertIn(command.group(2), names)
        with tempfile.TemporaryDirectory() as folder:
            cert, key = f"{folder}/tls.crt", f"{folder}/tls.key"
            made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                       "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test",
                       "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names),
                       "-keyout", key, "-out", cert)
            self.assertEqual(made.returncode, 0, made.stderr)
            with Daemon(configuration(RENDERED["tls"]), "--health-listen=127.0.0.1:0",
                        f"--tls-cert={cert}", f"--tls-key={key}",
                        f"--tls-client-ca={cert}") as daemon:
                words = [{"ca.crt": cert, "client.crt": cert, "client.key": key}.get(w, w)
                         for w in shlex.split(command.group(1))]
                for name in names:
                    answer = run(ALCCA, *words, name, "--target", daemon.grpc)
                    self.assertEqual(answer.returncode, 0, f"{name}: {answer.stderr}")
                answer = run(ALCCA, *words, "alcca.default.svc", "--target", daemon.grpc)
                self.assertEqual(answer.returncode, 14, "a name that is not in the certificate")
                # What kubelets, and a container's health check beside TLS, ask.
                self.assertEqual(run(ALCCA, "health", "--target", daemon.health).returncode, 0)
                self.assertNotEqual(
                    run(ALCCA, "health", "--timeout", "2", "--target", daemon.grpc).returncode, 0)
            self.assertEqual(daemon.exit_code, 0)

    def test_routes_name_methods_that_exist(self):
        methods = set()
        for proto in (pathlib.Path(SOURCE) / "proto").rglob("*.proto"):
            text = proto.read_text()
            package = re.search(r"^package ([\w.]+);", text, re.MULTILINE).group(1)
            for service, body in re.findall(r"service (\w+) \{(.*?)^\}", text, re.S | re.M):
                methods |= {(f"{package}.{service}", m) for m in re.findall(r"rpc (\w+)", body)}
        routes = [o for objects in RENDERED.values() for o in objects if o["kind"] == "GRPCRoute"]
        self.assertTrue(routes)
        for route in routes:
            for rule in route["spec"]["rules"]:
                for match in rule["matches"]:
                    method = match["method"]
                    self.assertIn((method["service"], method["method"]), methods)

    def test_prometheus_rules_are_those_of_deploy_prometheus(self):
        """They come with every monitor: metrics that alert nobody are half a thing."""
        script = ROOT.parent / "prometheus/prometheusrule.py"
        rules = {f"alcca-{path.name.removesuffix('.rules.yml')}": yaml.safe_load(path.read_text())
                 for path in (ROOT.parent / "prometheus").glob("*.rules.yml")}
        self.assertGreaterEqual(len(rules), 3)
        for overlay, objects in RENDERED.items():
            shown = {o["metadata"]["name"]: o["spec"] for o in objects
                     if o["kind"] == "PrometheusRule"}
            monitored = any(o["kind"] == "PodMonitor" for o in objects)
            self.assertEqual(shown, rules if monitored else {}, f"{overlay}: make prometheus-rules")
        with tempfile.TemporaryDirectory() as folder:
            wrote = run(sys.executable, "-B", str(script), folder)
            self.assertEqual(wrote.returncode, 0, wrote.stderr)
            for path in pathlib.Path(folder).iterdir():
                self.assertEqual((ROOT / "components/prometheus-rules" / path.name).read_text(),
                                 path.read_text(), "make prometheus-rules")

    def test_dashboards_are_those_of_deploy_grafana(self):
        files = {path.name: path.read_text()
                 for path in (ROOT.parent / "grafana/dashboards").glob("*.json")}
        shown = [o for o in RENDERED["replicas"]
                 if o["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
        self.assertEqual([o["kind"] for o in shown], ["ConfigMap"] * len(files))
        self.assertEqual({name: text for o in shown for name, text in o["data"].items()}, files)

    def test_objects_fit_the_annotation_that_apply_keeps_them_in(self):
        for overlay, objects in RENDERED.items():
            for obj in objects:
                self.assertLess(len(json.dumps(obj)), 250_000, (overlay, obj["metadata"]["name"]))

    def test_the_models_list_is_what_its_command_writes(self):
        """In the order of the shell, of a folder that also holds what the daemon does not read."""
        file = ROOT / "components/model-volume/model.sha256"
        listed = re.findall(r"^0{64}  (\S+)$", file.read_text(), re.MULTILINE)
        folder = sorted(listed + ["consolidated.safetensors", "params.json", "tokenizer.json",
                                  "tokenizer.model.v3", "tokenizer_config.json"])
        for text in (file.read_text(), (pathlib.Path(SOURCE) / "docs/kubernetes.md").read_text()):
            patterns = re.search(r"cd MODEL && sha256sum ([^`\n]+)", text).group(1).split()
            self.assertEqual([name for p in patterns for name in fnmatch.filter(folder, p)], listed)

    def test_the_pages_download_starts_what_is_there(self):
        page = (pathlib.Path(SOURCE) / "docs/kubernetes.md").read_text()
        name = re.search(r"^kubectl .*create job \S+ --from=cronjob/(\S+)$", page, re.M).group(1)
        for overlay in ("gpu", "gpu-replicas"):
            self.assertIn(("CronJob", name), [(o["kind"], o["metadata"]["name"])
                                              for o in RENDERED[overlay]])

    def test_the_page_names_every_overlay_and_component(self):
        page = (pathlib.Path(SOURCE) / "docs/kubernetes.md").read_text()
        for folder in ("overlays", "components"):
            for path in (ROOT / folder).iterdir():
                self.assertIn(f"`{path.name}`", page)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

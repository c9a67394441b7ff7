"""Is an object what its API says? Every field is known, has its type, and none is missing.

Kubernetes' own kinds: the JSON schemas of kubernetes-validate, of the oldest release that we
support and of the newest known. KEDA and the Prometheus operator: models generated from their CRDs.
InferencePool and GRPCRoute: schemas/, written here (schemas/README.md)."""

import json
import pathlib

import jsonschema
import kubernetes_validate
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

OLDEST, NEWEST = "1.30", "1.37"
SCHEMAS = pathlib.Path(__file__).parent / "schemas"


def _closed(schema):
    """The same schema with every object closed: a field it does not name is an error."""
    if isinstance(schema, dict):
        schema = {key: _closed(value) for key, value in schema.items()}
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
        return schema
    return [_closed(item) for item in schema] if isinstance(schema, list) else schema


def _of_model(model):
    return _closed(model.model_json_schema(by_alias=True))


CUSTOM = {
    ("keda.sh/v1alpha1", "ScaledObject"): _of_model(keda.ScaledObject),
    ("monitoring.coreos.com/v1", "PodMonitor"): _of_model(prometheus_operator.PodMonitor),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _of_model(prometheus_operator.PrometheusRule),
    ("inference.networking.k8s.io/v1", "InferencePool"): json.loads(
        (SCHEMAS / "inferencepool.json").read_text()),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): json.loads(
        (SCHEMAS / "grpcroute.json").read_text()),
}


def problems(obj):
    """Messages of what is wrong with the object; empty if nothing is."""
    where = f"{obj.get('kind')}/{obj.get('metadata', {}).get('name')}"
    custom = CUSTOM.get((obj.get("apiVersion"), obj.get("kind")))
    if custom is not None:
        found = jsonschema.Draft202012Validator(custom).iter_errors(obj)
        return [f"{where}: {error.json_path}: {error.message}" for error in found]
    messages = []
    for version in (OLDEST, NEWEST):
        try:
            kubernetes_validate.validate(obj, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            messages.append(f"{where}: Kubernetes {version}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            messages.append(f"{where}: no schema: {error}")
    return messages

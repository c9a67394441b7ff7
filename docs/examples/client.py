"""Streams a completion and an answer: client.py HOST:PORT PROMPT [CA.pem]   (docs/clients.md)"""

import json
import pathlib
import sys

import grpc
from alcca.v1 import inference_pb2 as pb
from alcca.v1 import inference_pb2_grpc as rpc

# gRPC retries by itself what was refused before the first reply: after the delay that the server names, where
# it names one (a full queue), else after one that doubles.
RETRY = {"methodConfig": [{"name": [{"service": "alcca.v1.Inference"}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.25s", "maxBackoff": "4s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]}}]}


def connect(target, ca=None):
    options = [("grpc.service_config", json.dumps(RETRY))]
    if ca is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(pathlib.Path(ca).read_bytes()), options)


def show(replies):
    for reply in replies:
        if reply.HasField("chunk"):
            print(reply.chunk.text, end="", flush=True)
        else:
            done = reply.complete
            print(f"\n--- {done.finish_reason}, {done.usage.completion_tokens} tokens, "
                  f"{done.attention.performed_over_dense_causal:.1%} of causal dense's interactions")


def main(target, prompt, ca=None):
    sampling = pb.SamplingParams(max_tokens=64, temperature=0)
    message = pb.ChatMessage(role="user", content=prompt)
    with connect(target, ca) as channel:
        alcca = rpc.InferenceStub(channel)
        try:  # timeout: the deadline, in seconds; what the server has not finished by then it ends
            show(alcca.Generate(pb.GenerateRequest(text=prompt, sampling_params=sampling, stream=True), timeout=60))
            show(alcca.Chat(pb.ChatRequest(messages=[message], sampling_params=sampling, stream=True), timeout=60))
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    main(*sys.argv[1:])

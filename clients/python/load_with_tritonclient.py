"""Loads and unloads models with NVIDIA's own Python client: a configuration, and files, that the load request brings.

    pip install "tritonclient[http,grpc]"
    npm start -- --model-control-mode explicit --load-model simple      # in another terminal
    python clients/python/load_with_tritonclient.py model-repository/simple/1/model.onnx [--http 127.0.0.1:8000] [--grpc 127.0.0.1:8001]
"""

import argparse
import json

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException


def infer(module, client, name):
    """The sum of two vectors of 16 integers, by a model such as `simple`."""
    ones = np.ones((1, 16), dtype=np.int32)
    inputs = [module.InferInput("INPUT0", ones.shape, "INT32"), module.InferInput("INPUT1", ones.shape, "INT32")]
    for one in inputs:
        one.set_data_from_numpy(ones)
    return client.infer(name, inputs).as_numpy("OUTPUT0").tolist()[0]


def max_batch_size(module, client, name):
    config = client.get_model_config(name)
    return config["max_batch_size"] if module is httpclient else config.config.max_batch_size


def versions(module, client, name):
    metadata = client.get_model_metadata(name)
    return list(metadata["versions"] if module is httpclient else metadata.versions)


def refused(call):
    """What the server says to a load that cannot be."""
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    raise AssertionError("a wrong load was accepted")


def run(module, url, model):
    name = "loaded_over_http" if module is httpclient else "loaded_over_grpc"
    with module.InferenceServerClient(url) as client:
        before = max_batch_size(module, client, "simple")
        config = json.dumps({"backend": "onnxruntime", "max_batch_size": before + 1})
        client.load_model("simple", config=config)
        assert max_batch_size(module, client, "simple") == before + 1
        client.unload_model("simple")
        assert not client.is_model_ready("simple")
        client.load_model("simple")
        assert max_batch_size(module, client, "simple") == before

        # No repository has this one.
        client.load_model(name, config=config, files={"file:3/model.onnx": model})
        assert versions(module, client, name) == ["3"]
        assert infer(module, client, name) == [2] * 16
        error = refused(lambda: client.load_model(name, config=config, files={"file:../model.onnx": model}))
        assert infer(module, client, name) == [2] * 16
        client.unload_model(name, unload_dependents=True)
        assert not client.is_model_ready(name)
        return error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="an ONNX file that adds and subtracts two vectors")
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    arguments = parser.parse_args()
    with open(arguments.model, "rb") as file:
        model = file.read()
    print(f"HTTP  {run(httpclient, arguments.http, model)}")
    print(f"gRPC  {run(grpcclient, arguments.grpc, model)}")
    print("PASS")


if __name__ == "__main__":
    main()

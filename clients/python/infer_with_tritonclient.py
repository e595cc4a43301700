"""NVIDIA's own Python client against Nereid: HTTP, gRPC, and a gRPC stream of a decoupled model.

    pip install "tritonclient[http,grpc]"
    npm start                                   # in another terminal
    python clients/python/infer_with_tritonclient.py [--http 127.0.0.1:8000] [--grpc 127.0.0.1:8001]
"""

import argparse
import queue

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException


def add_and_subtract(module, url):
    """The model `simple` adds and subtracts two vectors of 16 integers."""
    with module.InferenceServerClient(url) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("simple")
        left = np.arange(16, dtype=np.int32).reshape(1, 16)
        right = np.ones((1, 16), dtype=np.int32)
        inputs = [module.InferInput("INPUT0", left.shape, "INT32"), module.InferInput("INPUT1", right.shape, "INT32")]
        inputs[0].set_data_from_numpy(left)
        inputs[1].set_data_from_numpy(right)
        outputs = [module.InferRequestedOutput("OUTPUT0"), module.InferRequestedOutput("OUTPUT1")]
        result = client.infer("simple", inputs, outputs=outputs, request_id="1")
        assert np.array_equal(result.as_numpy("OUTPUT0"), left + right)
        assert np.array_equal(result.as_numpy("OUTPUT1"), left - right)
        return result.as_numpy("OUTPUT0").tolist()[0]


def strings(module, url):
    """The model `simple_string` does the same with numbers written as text."""
    with module.InferenceServerClient(url) as client:
        left = np.array([[str(i).encode() for i in range(16)]], dtype=np.object_)
        right = np.array([[b"1"] * 16], dtype=np.object_)
        inputs = [module.InferInput("INPUT0", left.shape, "BYTES"), module.InferInput("INPUT1", right.shape, "BYTES")]
        inputs[0].set_data_from_numpy(left)
        inputs[1].set_data_from_numpy(right)
        result = client.infer("simple_string", inputs)
        sums = [int(text) for text in result.as_numpy("OUTPUT0").flatten()]
        assert sums == [i + 1 for i in range(16)]
        return sums


def errors(module, url):
    """What a caller sees of a mistake."""
    with module.InferenceServerClient(url) as client:
        image = module.InferInput("INPUT0", [1, 16], "FP32")
        image.set_data_from_numpy(np.zeros((1, 16), dtype=np.float32))
        try:
            client.infer("simple", [image])
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        raise AssertionError("a wrong request was accepted")


def repeat(url):
    """The decoupled model `repeat_int32` answers once for each number it is given; then a request without numbers, which it does not answer at all."""
    answers = queue.Queue()
    with grpcclient.InferenceServerClient(url) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for request_id, values in (("many", [4, 2, 0, 1]), ("none", [])):
            inputs = [
                grpcclient.InferInput("IN", [len(values)], "INT32"),
                grpcclient.InferInput("DELAY", [len(values)], "UINT32"),
                grpcclient.InferInput("WAIT", [1], "UINT32"),
            ]
            inputs[0].set_data_from_numpy(np.array(values, dtype=np.int32))
            inputs[1].set_data_from_numpy(np.full(len(values), 1, dtype=np.uint32))
            inputs[2].set_data_from_numpy(np.array([0], dtype=np.uint32))
            client.async_stream_infer("repeat_int32", inputs, request_id=request_id, enable_empty_final_response=True)
        got = {"many": [], "none": []}
        finals = 0
        while finals < 2:
            result, error = answers.get(timeout=10)
            assert error is None, error
            response = result.get_response()
            if response.parameters["triton_final_response"].bool_param:
                finals += 1
            if len(response.outputs) > 0:
                got[response.id].append(int(result.as_numpy("OUT")[0]))
        client.stop_stream()
    assert got == {"many": [4, 2, 0, 1], "none": []}, got
    return got["many"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    urls = parser.parse_args()
    for name, module, url in (("HTTP", httpclient, urls.http), ("gRPC", grpcclient, urls.grpc)):
        print(f"{name}  simple         {add_and_subtract(module, url)}")
        print(f"{name}  simple_string  {strings(module, url)}")
        print(f"{name}  an error       {errors(module, url)}")
    print(f"gRPC  repeat_int32   {repeat(urls.grpc)}")
    with grpcclient.InferenceServerClient(urls.grpc) as client:
        print(f"gRPC  server         {client.get_server_metadata().name}, models {[model.name for model in client.get_model_repository_index().models]}")
        assert client.get_model_config("simple").config.max_batch_size > 0
        assert client.get_inference_statistics("simple").model_stats[0].inference_count >= 2
    print("PASS")


if __name__ == "__main__":
    main()

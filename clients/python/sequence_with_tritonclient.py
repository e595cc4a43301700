"""Sequences with NVIDIA's own Python client: requests that belong together, over HTTP, gRPC, and one gRPC stream of several sequences.

    pip install "tritonclient[http,grpc]"
    npm start                                   # in another terminal
    python clients/python/sequence_with_tritonclient.py [--http 127.0.0.1:8000] [--grpc 127.0.0.1:8001]

The model `simple_sequence` adds up what the requests of a sequence bring: OUTPUT is the sum of all INPUTs so far.
"""

import argparse
import queue

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

MODEL = "simple_sequence"
VALUES = [11, 7, 5, 3, 2, 0, 1]
SUMS = np.cumsum(VALUES).tolist()


def number(module, value):
    tensor = module.InferInput("INPUT", [1, 1], "INT32")
    tensor.set_data_from_numpy(np.array([[value]], dtype=np.int32))
    return [tensor]


def one_by_one(module, url, sequence_id):
    """Each request waits for the answer to the one before."""
    sums = []
    with module.InferenceServerClient(url) as client:
        for i, value in enumerate(VALUES):
            result = client.infer(
                MODEL,
                number(module, value),
                sequence_id=sequence_id,
                sequence_start=i == 0,
                sequence_end=i == len(VALUES) - 1,
            )
            sums.append(int(result.as_numpy("OUTPUT").flatten()[0]))
    assert sums == SUMS, (sequence_id, sums)
    return sums


def streamed(url):
    """Three sequences on one stream, none of whose requests waits for an answer."""
    sequences = {1001: 1, 1002: -1, 2**63 - 1: 10}
    answers = queue.Queue()
    with grpcclient.InferenceServerClient(url) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for i, value in enumerate(VALUES):
            for sequence_id, factor in sequences.items():
                client.async_stream_infer(
                    MODEL,
                    number(grpcclient, factor * value),
                    request_id=f"{sequence_id} {i}",
                    sequence_id=sequence_id,
                    sequence_start=i == 0,
                    sequence_end=i == len(VALUES) - 1,
                )
        got = {sequence_id: [] for sequence_id in sequences}
        for _ in range(len(VALUES) * len(sequences)):
            result, error = answers.get(timeout=20)
            assert error is None, error
            sequence_id, i = map(int, result.get_response().id.split())
            assert i == len(got[sequence_id]), "answers come in the order of the requests"
            got[sequence_id].append(int(result.as_numpy("OUTPUT").flatten()[0]))
        client.stop_stream()
    for sequence_id, factor in sequences.items():
        assert got[sequence_id] == [factor * one for one in SUMS], (sequence_id, got[sequence_id])
    return got[1001]


def error(module, url):
    """A sequence begins with sequence_start."""
    with module.InferenceServerClient(url) as client:
        try:
            client.infer(MODEL, number(module, 1), sequence_id=77)
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        raise AssertionError("a sequence without a start was accepted")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    urls = parser.parse_args()
    for name, module, url in (("HTTP", httpclient, urls.http), ("gRPC", grpcclient, urls.grpc)):
        print(f"{name}  one by one  {one_by_one(module, url, 7)}")
        print(f"{name}  large id    {one_by_one(module, url, 2**63 - 1)}")
        print(f"{name}  an error    {error(module, url)}")
    print(f"gRPC  a stream    {streamed(urls.grpc)}")
    print("PASS")


if __name__ == "__main__":
    main()

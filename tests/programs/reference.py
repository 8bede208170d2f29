"""Tokens per second of Edgeloom, through its whole path, against llama.cpp: same file, same threads, taking turns.

    reference.py EDGELOOM KUBECTL MODEL [--rounds N] [--prompt TOKENS] [--tokens N]

Runs a control plane and one agent without limits, as on a machine of its own, asks over HTTP as an OpenAI client does, and
calls llama-cpp-python in this process. Prints medians and their ratio.
"""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import random
import signal
import statistics
import subprocess
import tempfile
import time

import llama_cpp
import openai

THREADS = os.cpu_count()
CONTEXT = 2048
SERVICE = "reference"
MANIFESTS = """
apiVersion: edgeloom.dev/v1alpha1
kind: Model
metadata: {{name: reference, namespace: default}}
spec: {{variants: [{{name: only, uri: "file://{model}"}}]}}
---
apiVersion: edgeloom.dev/v1alpha1
kind: LLMService
metadata: {{name: reference, namespace: default}}
spec: {{models: [{{name: reference}}], access: Anonymous, contextTokens: {context}, concurrency: 1}}
"""


class Edgeloom:
    """The router of the one agent of a system of its own."""

    def __init__(self, edgeloom, kubectl, model, folder, stack):
        self.kubeconfig = folder / "kubeconfig"

        def run(name, *arguments):
            log = open(folder / f"{name}.log", "wb")
            process = subprocess.Popen([edgeloom, name, *arguments], stdout=log, stderr=log)
            stack.callback(stop, process)

        run("apiserver", "--listen", "127.0.0.1:0", "--data", folder / "api", "--kubeconfig", self.kubeconfig)
        wait("the API server", lambda: self.kubeconfig.exists(), folder)
        run("controller", "--install-crds", "--listen-health", "127.0.0.1:0", "--kubeconfig", self.kubeconfig)
        self.kubectl = [kubectl, "--kubeconfig", self.kubeconfig]
        wait("the kinds", lambda: self.ask("get", "edgenodes", "-o", "name") is not None, folder)
        run("agent", "--node", "machine", "--register", "--data", folder / "agent", "--kubeconfig", self.kubeconfig)
        manifests = MANIFESTS.format(model=model, context=CONTEXT)
        subprocess.run([*self.kubectl, "apply", "-f", "-"], input=manifests.encode(), check=True, stdout=subprocess.DEVNULL)
        ready = ("wait", "--for=condition=Ready", f"llmservice/{SERVICE}", "--timeout=1s")
        wait("the service", lambda: self.ask(*ready) is not None, folder)
        url = self.ask("get", "edgenode", "machine", "-o", "jsonpath={.status.agent.routerUrl}")
        self.client = openai.OpenAI(base_url=f"{url.rstrip('/')}/v1", api_key="none", max_retries=0, timeout=600)

    def ask(self, *arguments):
        """What kubectl prints; None when it fails."""
        done = subprocess.run([*self.kubectl, *arguments], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    def measure(self, words, tokens):
        """(prompt tokens, seconds to the first token, output tokens, seconds from the first to the last)."""
        begun = time.perf_counter()
        first = last = usage = None
        stream = self.client.chat.completions.create(
            model=SERVICE,
            messages=[{"role": "user", "content": " ".join(words)}],
            max_tokens=tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            usage = chunk.usage or usage
            if any(choice.delta.content for choice in chunk.choices):
                last = time.perf_counter()
                first = first or last
        return usage.prompt_tokens, first - begun, usage.completion_tokens, last - first


class Reference:
    """llama.cpp as its Python binding calls it, without anything around it."""

    def __init__(self, model):
        self.llama = llama_cpp.Llama(
            str(model), n_ctx=CONTEXT, n_threads=THREADS, n_threads_batch=THREADS, verbose=False
        )

    def measure(self, prompt_tokens, tokens):
        """(seconds to the first token, seconds from the first to the last)."""
        prompt = [random.randrange(1000, 40000) for _ in range(prompt_tokens)]
        begun = time.perf_counter()
        self.llama.reset()
        self.llama.eval(prompt)
        token = self.llama.sample(temp=0.0)
        first = time.perf_counter()
        for _ in range(tokens - 1):
            self.llama.eval([token])
            token = self.llama.sample(temp=0.0)
        return first - begun, time.perf_counter() - first


def wait(what, condition, folder, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in folder.glob("*.log"))
            raise SystemExit(f"{what} did not come within {seconds} s\n{logs}")
        time.sleep(0.2)


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgeloom")
    parser.add_argument("kubectl")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=256, help="words in the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the answer, at most")
    arguments = parser.parse_args()

    prefill, decode = {"edgeloom": [], "llama.cpp": []}, {"edgeloom": [], "llama.cpp": []}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        edgeloom = Edgeloom(arguments.edgeloom, arguments.kubectl, arguments.model.resolve(), folder, stack)
        reference = Reference(arguments.model)
        words = "river stone cloud paper green seven window morning garden letter bridge winter".split()
        for turn in range(arguments.rounds + 1):
            prompt = [random.choice(words) for _ in range(arguments.prompt)]
            prompt_tokens, first, tokens, rest = edgeloom.measure(prompt, arguments.tokens)
            reference_first, reference_rest = reference.measure(prompt_tokens, tokens)
            if turn == 0 or tokens < 2:
                continue  # warm-up; an answer of one token says nothing of decoding
            prefill["edgeloom"].append(prompt_tokens / first)
            decode["edgeloom"].append((tokens - 1) / rest)
            prefill["llama.cpp"].append(prompt_tokens / reference_first)
            decode["llama.cpp"].append((tokens - 1) / reference_rest)

    rounds = len(decode["edgeloom"])
    print(f"{arguments.model.name}, {THREADS} threads, prompts of about {prompt_tokens} tokens, medians of {rounds} rounds")
    print(f"{'':24}{'prompt tokens/s':>16}{'output tokens/s':>17}")
    for name, title in (
        ("llama.cpp", f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"),
        ("edgeloom", "edgeloom over HTTP"),
    ):
        print(f"{title:24}{statistics.median(prefill[name]):16.1f}{statistics.median(decode[name]):17.1f}")
    ratios = [statistics.median(of["edgeloom"]) / statistics.median(of["llama.cpp"]) for of in (prefill, decode)]
    print(f"{'ratio':24}{ratios[0]:16.2f}{ratios[1]:17.2f}")


main()

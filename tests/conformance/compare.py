#!/usr/bin/env python3
"""Sends the same requests to two API servers and compares their answers field by field.

    compare.py --kubectl KUBECTL --ours KUBECONFIG --theirs KUBECONFIG [--only REGEX] [--more]

What differs by nature (identifiers, versions, times) is put in place of a word first. One line for each request, with each
difference below it; the exit code is 1 when there is one.
"""

import argparse
import base64
import gzip
import http.client
import json
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import uuid

import cases
import corners

# Fields whose values are each server's own.
OWN = {
    "uid": "UID",
    "resourceVersion": "VERSION",
    "creationTimestamp": "TIME",
    "deletionTimestamp": "TIME",
    "lastTransitionTime": "TIME",
    "time": "TIME",
    "continue": "TOKEN",
    "clusterIP": "ADDRESS",
    "clusterIPs": "ADDRESS",
    "token": "TOKEN",
}
# Texts in which something is each server's own.
PATTERNS = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"(resource version: )\d+(?: \(\d+\))?"), r"\1VERSION"),
    (re.compile(r"(ResourceVersion in record \()\d+"), r"\1VERSION"),
    (re.compile(r"(current: )\d+"), r"\1VERSION"),
    (re.compile(r'(resourceVersion\\?":\\?")\d+'), r"\1VERSION"),
    (re.compile(r"kube-api-access-\w{5}"), "kube-api-access-SUFFIX"),
]


class Server:
    """A connection to the server of a kubeconfig."""

    def __init__(self, kubectl, kubeconfig):
        self.answers = {}
        view = [kubectl, "--kubeconfig", kubeconfig, "config", "view", "--raw", "--minify", "-o", "json"]
        config = json.loads(subprocess.run(view, check=True, capture_output=True, text=True).stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=self.text(cluster, "certificate-authority"))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(self.text(user, "client-certificate") + "\n" + self.text(user, "client-key"))
            pem.flush()
            context.load_cert_chain(pem.name)
        address = urllib.parse.urlsplit(cluster["server"])
        self.connection = http.client.HTTPSConnection(address.hostname, address.port, context=context, timeout=60)

    @staticmethod
    def text(fields, name):
        """A field that stands in the kubeconfig itself, or in a file that it names."""
        if f"{name}-data" in fields:
            return base64.b64decode(fields[f"{name}-data"]).decode()
        with open(fields[name], encoding="utf-8") as file:
            return file.read()

    def ask(self, case):
        """Sends a request; gives back the code, the headers that are compared, and the body."""
        try:
            body = case.body(self.answers) if callable(case.body) else case.body
            path = case.path(self.answers) if callable(case.path) else case.path
        except (KeyError, TypeError) as error:
            return {"code": 0, "headers": {}, "body": f"an answer that this builds on lacks {error}"}
        if not isinstance(body, (str, bytes, type(None))):
            body = json.dumps(body)
        headers = {"User-Agent": "compare/1", **case.headers}
        if case.accept:
            headers["Accept"] = case.accept
        if body is not None and case.media_type:
            headers["Content-Type"] = case.media_type
        # A connection for each request: either server may have closed the last one.
        self.connection.close()
        self.connection.request(case.method, path, body=body, headers=headers)
        answer = self.connection.getresponse()
        said = answer.read()
        kept = {
            "content-type": answer.getheader("Content-Type"),
            "content-encoding": answer.getheader("Content-Encoding"),
            "warning": sorted(value for name, value in answer.getheaders() if name.lower() == "warning"),
        }
        if kept["content-encoding"] == "gzip":
            said = gzip.decompress(said)
        self.answers[case.name] = {"code": answer.status, "headers": kept, "body": parsed(said.decode())}
        return self.answers[case.name]


def parsed(text):
    """JSON, or a line of it for each event of a watch, or else the text."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()] or text
    except ValueError:
        return text


def common(value, key=""):
    """The value with a word in place of whatever is a server's own."""
    if isinstance(value, dict):
        # Names too: fields of owners are told apart by their identifiers.
        return {common(name): common(one, name) for name, one in value.items()}
    if key == "managedFields" and isinstance(value, list):
        # In order of their times, which depend on how fast a server is.
        value = sorted(value, key=lambda one: (one["operation"], one["manager"], one.get("subresource", "")))
    if key in OWN and value not in (None, ""):
        return OWN[key]
    if isinstance(value, list):
        return [common(one) for one in value]
    if isinstance(value, str):
        for pattern, word in PATTERNS:
            value = pattern.sub(word, value)
    return value


def in_any_order(answer):
    """The answer with its causes in order, and with the words of its message in order."""
    if not isinstance(answer["body"], dict):
        return answer
    causes = answer["body"].get("details", {}).get("causes", [])
    causes.sort(key=lambda cause: json.dumps(cause, sort_keys=True))
    answer["body"]["message"] = sorted(re.findall(r"[^\s,\[\]]+", answer["body"].get("message", "")))
    return answer


def differences(ours, theirs, place=""):
    """Where two values differ, as lines."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            at = f"{place}.{name}"
            if name not in theirs:
                yield f"{at}: only ours: {short(ours[name])}"
            elif name not in ours:
                yield f"{at}: only theirs: {short(theirs[name])}"
            else:
                yield from differences(ours[name], theirs[name], at)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs)):
            yield from differences(one, other, f"{place}[{index}]")
    elif ours != theirs:
        yield f"{place}: ours {short(ours)}, theirs {short(theirs)}"


def short(value):
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubectl", required=True)
    parser.add_argument("--ours", required=True, metavar="KUBECONFIG")
    parser.add_argument("--theirs", required=True, metavar="KUBECONFIG")
    parser.add_argument("--only", default="", help="show the requests whose names match this; all are sent")
    parser.add_argument("--more", action="store_true", help="send those of corners/ too, of which some are known to differ")
    options = parser.parse_args()
    servers = [Server(options.kubectl, path) for path in (options.ours, options.theirs)]
    namespace = f"compare-{uuid.uuid4().hex[:8]}"
    same, all_cases = 0, cases.cases(namespace)
    if options.more:
        all_cases += corners.cases(f"{namespace}-corners")
    for case in all_cases:
        answers = [case.settle(server.ask) for server in servers]
        ours, theirs = (common(answer) for answer in answers)
        if case.any_order:
            ours, theirs = in_any_order(ours), in_any_order(theirs)
        found = [line for line in differences(ours, theirs) if not case.expects(line)]
        same += not found
        if re.search(options.only, case.name):
            print(f"{'same' if not found else 'DIFF'}  {case.name}", flush=True)
            for line in found:
                print(f"        {line}")
    print(f"{same} of {len(all_cases)} requests have the same answer")
    sys.exit(same < len(all_cases))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs specs of upstream's end-to-end suite, each in a process of its own, against the server of a kubeconfig.

One line for each spec as it ends, then the sums. The exit code is 1 when a spec of a list that must pass fails.
What a failed spec said lies in the folder of logs.
"""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True, help="the compiled suite, e2e.test")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--kubectl", required=True)
    parser.add_argument("--logs", required=True, type=pathlib.Path, help="folder for what failed specs said")
    parser.add_argument("--must-pass", action="append", default=[], type=pathlib.Path, metavar="LIST")
    parser.add_argument("--report", action="append", default=[], type=pathlib.Path, metavar="LIST")
    parser.add_argument("--only", default="", help="a regular expression that names must match")
    parser.add_argument("--seconds", type=int, default=300, help="limit for one spec that must pass")
    parser.add_argument("--report-seconds", type=int, default=90, help="limit for one that is reported")
    parser.add_argument("--jobs", type=int, default=3, help="specs at once; serial ones run alone")
    return parser.parse_args()


def names_in(path, only):
    """The specs of a list, without its comments."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#") and re.search(only, line)]


def run(name, options, limit):
    """Runs one spec; gives back whether it passed, its seconds and its reason."""
    begin = time.monotonic()
    command = [
        options.suite,
        # Ginkgo knows a spec by its whole text; Go's expressions know no escaped space.
        "--ginkgo.focus=" + re.escape(name).replace(r"\ ", " ") + "$",
        f"--kubeconfig={options.kubeconfig}",
        f"--kubectl-path={options.kubectl}",
        "--provider=skeleton",
        # There are no nodes, and none are waited for.
        "--num-nodes=0",
        "--allowed-not-ready-nodes=-1",
        "--minStartupPods=0",
        "--ginkgo.no-color",
        f"--ginkgo.timeout={limit}s",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit + 60)
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        said = f"{late.stdout or ''}\nit did not end in time"
    passed = re.search(r"SUCCESS! -- [1-9]\d* Passed", said) is not None
    if not passed:
        options.logs.mkdir(parents=True, exist_ok=True)
        file = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:120]
        (options.logs / f"{file}.log").write_text(said)
    reasons = re.findall(r"^\s*\[(?:FAILED|TIMEDOUT)\] (?!in \[)(.*)", said, re.MULTILINE)
    reason = reasons[0][:160] if reasons else "see its log"
    return passed, time.monotonic() - begin, "" if passed else reason


def run_all(names, options, limit):
    """Runs specs, serial ones last and alone; gives back the names of those that passed."""
    passed = set()

    def tell(name, outcome):
        good, seconds, reason = outcome
        print(f"{'pass' if good else 'FAIL'} {seconds:4.0f} s  {name}{f'  # {reason}' if reason else ''}", flush=True)
        if good:
            passed.add(name)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(run, name, options, limit): name for name in names if "[Serial]" not in name}
        for one in concurrent.futures.as_completed(running):
            tell(running[one], one.result())
    for name in (name for name in names if "[Serial]" in name):
        tell(name, run(name, options, limit))
    return passed


def main():
    options = arguments()
    failed = False
    for must_pass, lists in ((True, options.must_pass), (False, options.report)):
        for path in lists:
            names = names_in(path, options.only)
            passed = run_all(names, options, options.seconds if must_pass else options.report_seconds)
            print(f"{path.stem}: {len(passed)} of {len(names)} specs pass", flush=True)
            failed = failed or (must_pass and len(passed) < len(names))
    if failed:
        sys.exit(f"what failed specs said is in {options.logs}")


if __name__ == "__main__":
    main()

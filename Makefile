# Everything there is to run. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO := cargo
EDGELOOM_CACHE ?= $(HOME)/.cache/edgeloom
export EDGELOOM_CACHE

# Read anew for each recipe, so that a library that has just been installed is found.
export LIBCLANG_PATH ?= $(shell tests/programs/libclang.sh)

PREFIX ?= $(HOME)/.local

.PHONY: help demo test test-kubernetes test-conformance test-comparison test-clients test-kube-rs bench-kubernetes kubernetes-home check bench bench-solver bench-apiserver bench-reference generate install clean model programs system-packages

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: system-packages model ## sets everything up, runs three agents and answers a chat request
	$(CARGO) build --workspace --bins
	tests/programs/demo.sh

test: system-packages programs ## every test, after fetching what they need
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast

test-kubernetes: system-packages model ## the suites on a real cluster of three nodes, or on the one that KUBECONFIG names; needs root and Go
	tests/programs/test-kubernetes.sh

bench-kubernetes: system-packages model ## what a release costs at rest, with three nodes and with a thousand more; needs root and Go
	tests/programs/test-kubernetes.sh --ignored figures

test-conformance: system-packages ## upstream's own conformance suite on our API server; needs Go, and some minutes to compile it
	tests/programs/conformance.sh

test-comparison: system-packages ## the same requests to our API server and to a real kube-apiserver, compared field by field; root and Go
	tests/programs/compare.sh

test-clients: system-packages ## our API server under older kubectls and the official Python client
	tests/programs/clients.sh

test-kube-rs: system-packages ## our API server under kube-rs's own integration tests, which its published crates carry
	tests/programs/kube-rs.sh

kubernetes-home: ## a real Kubernetes cluster of three nodes on this machine, left running; needs root and Go
	@tests/programs/kubernetes-home.sh up --nodes 3 | sed 's/^/export KUBECONFIG=/'
	@echo "# take it down with: tests/programs/kubernetes-home.sh down"

check: system-packages ## what must be clean before a commit: formatting, lints, documentation, generated files
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(CARGO) run --quiet -p crds --bin crds -- "$$fresh"; \
	mkdir "$$fresh/dashboards"; python3 -B charts/dashboards "$$fresh/dashboards"; \
	diff -ru charts/edgeloom/files/dashboards "$$fresh/dashboards" && rm -r "$$fresh/dashboards" && \
	diff -ru charts/edgeloom/files/crds "$$fresh" || { echo "generated files differ: run make generate" >&2; exit 1; }

bench: system-packages model ## the benchmarks, with their figures on the terminal
	$(CARGO) build --release --workspace --bins
	$(CARGO) bench --workspace --bench '*'

bench-solver: ## the solver's published and stated instances with bounds and gaps: a table, and target/bench/solver.jsonl
	$(CARGO) bench -p solver --bench reproductions

bench-apiserver: system-packages ## the API server against a real kube-apiserver with etcd, in one run; Go, for the real one
	tests/programs/bench-apiserver.sh

bench-reference: system-packages programs ## tokens/s against llama.cpp itself, which it builds first (20 minutes)
	$(CARGO) build --workspace --bins
	$$(tests/programs/python.sh reference) tests/programs/reference.py $${CARGO_TARGET_DIR:-target}/debug/edgeloom \
		"$$(tests/programs/kubectl.sh)" "$$(tests/programs/model.py)"

generate: ## rewrites what is generated and committed: the CRD YAML and the dashboards in charts/, the list of fields
	$(CARGO) run --quiet -p crds --bin crds -- charts/edgeloom/files/crds
	UPDATE_FIELDS=1 $(CARGO) test --quiet -p crds --test additions
	python3 -B charts/dashboards charts/edgeloom/files/dashboards

model: ## fetches the model that tests and demo run
	@python3 tests/programs/model.py

programs: model ## fetches what the tests drive: the model, kubectl, helm, the openai package, Prometheus
	@tests/programs/kubectl.sh
	@tests/programs/helm.sh 4
	@tests/programs/helm.sh 3
	@tests/programs/python.sh
	@tests/programs/prometheus.sh

install: system-packages ## builds a release and installs edgeloom, also as `kubectl edgeloom`, below PREFIX (~/.local)
	$(CARGO) install --locked --path controller/edgeloom --root "$(PREFIX)"
	ln -sf edgeloom "$(PREFIX)/bin/kubectl-edgeloom"

clean: ## removes what was built
	$(CARGO) clean

system-packages:
	@tests/programs/system-packages.sh

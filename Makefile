# make demo and make test are what the README says. make help lists the rest.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
MODULES  := . tests tests/suites/pebble
LINT     := go tool -modfile=$(CURDIR)/tests/modules/tools/golangci-lint/go.mod golangci-lint
BENCHSTAT := go tool -modfile=$(CURDIR)/tests/modules/tools/benchstat/go.mod benchstat
UV       ?= $(or $(shell command -v uv),$(CURDIR)/bin/uv/bin/uv)
FUZZTIME ?= 20000x

.DEFAULT_GOAL := build
.PHONY: help build rock-image demo test format lint unit fuzz components integration pebble charm spread bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/'

build: ## ./metrics-proxy
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o metrics-proxy ./proxy

demo: ## a cluster, exporters, the proxy and Prometheus on this machine, until Ctrl-C
	@go build -C tests -o $(CURDIR)/bin/demo ./cmd/demo
	@DEMO_SECONDS=$(DEMO_SECONDS) bin/demo

test: lint unit charm fuzz integration pebble ## everything that must hold

format: ## gofmt
	gofmt -w proxy tests

lint: ## format, vet, linters, and go.mod files that say what is used
	@unformatted=$$(gofmt -l proxy tests); test -z "$$unformatted" || { echo "not formatted, run make format:"; echo "$$unformatted"; exit 1; }
	@echo "linters (golangci-lint is built once)"
	@for module in $(MODULES); do \
		echo "lint $$module"; \
		(cd $$module && go mod tidy -diff && go vet ./... && $(LINT) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; \
	done

unit: ## with the race detector, and against Prometheus's own parser
	go test -race ./proxy/...
	cd tests && go test ./suites/differential

fuzz: ## each fuzz target for FUZZTIME: a duration, or so many inputs (with a duration the fuzzer now and then fails at its end on a busy machine)
	go test -run '^$$' -fuzz FuzzMerge -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./proxy/exposition
	go test -run '^$$' -fuzz FuzzProtobuf -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./proxy/exposition
	cd tests && go test -run '^$$' -fuzz FuzzMerge -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./suites/differential

components: ## the programs of others that the tests run, once
	@echo "components (built once, about 10 minutes on 2 cores)"
	@cd tests && go run ./cmd/components

integration: components $(UV) ## on a real API server, real exporters and a real Prometheus, the image under Docker, and the files of the charm
	@docker info >/dev/null 2>&1 && command -v umoci skopeo >/dev/null || echo "SKIPPED: the tests of the image, for there is no Docker engine, umoci or skopeo here (.ci/docker installs and starts them)"
	@tests/modules/tools/charmcraft/install >/dev/null || echo "SKIPPED: what charmcraft says of charm/charmcraft.yaml, for it cannot be installed here (it needs PyPI, and Python 3.10 or later with venv)"
	cd tests && UV=$(UV) go test -count=1 -timeout 20m ./...

pebble: components $(UV) ## under the Pebble of the rock and that of Juju
	cd tests/suites/pebble && UV=$(UV) go test -count=1 -timeout 10m ./...

charm: $(UV) ## the charm: format, linters, types and unit tests (uv is installed into bin/ if it is missing)
	$(MAKE) -C charm lint unit UV=$(UV)

$(CURDIR)/bin/uv/bin/uv:
	python3 -m venv bin/uv
	bin/uv/bin/pip install --quiet uv==0.13.9

spread: components ## the tasks of spread.yaml on this machine; TASKS=tests/suites/spread/rock/starts runs one, TASKS=tests/suites/spread/rock/ a suite; what this machine cannot run is skipped, or with NO_SKIP=1 fails
	@go build -C tests -o $(CURDIR)/bin/spreadrun ./cmd/spreadrun
	@bin/spreadrun -project . $(if $(NO_SKIP),-no-skip) $(TASKS)

rock-image: ## bin/*.rock, the image of rockcraft.yaml, without rockcraft, and in Docker if that runs here
	cd tests && go run ./cmd/rockimage $(shell docker info >/dev/null 2>&1 && echo -docker)

bench: ## reading and merging, the time to the first scrape with 1,000 pods, and whole processes beside two yardsticks
	@mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count 6 ./proxy/exposition > bin/bench.txt
	$(BENCHSTAT) bin/bench.txt
	cd tests && go test -count=1 -run '^$$' -bench . -benchtime 10x ./suites/integration
	cd tests && go run ./cmd/bench

clean: ## what was built here; built components stay in ~/.cache/metrics-k8s-proxy
	rm -rf bin metrics-proxy

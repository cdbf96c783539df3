# The README describes make demo and make test. make help lists all targets.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
MODULES  := . tests tests/suites/pebble
LINT     := go tool -modfile=$(CURDIR)/tests/modules/tools/golangci-lint/go.mod golangci-lint
BENCHSTAT := go tool -modfile=$(CURDIR)/tests/modules/tools/benchstat/go.mod benchstat
UV       ?= $(or $(shell command -v uv),$(CURDIR)/bin/uv/bin/uv)
FUZZTIME ?= 20000x

.DEFAULT_GOAL := build
.PHONY: help build rock-image demo test format lint unit fuzz fuzz-resources components integration hostile pebble charm spread bench clean

help: ## print this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/'

build: ## build ./metrics-proxy
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o metrics-proxy ./proxy

demo: ## run a cluster, exporters, the proxy and Prometheus on this machine until Ctrl-C
	@go build -C tests -o $(CURDIR)/bin/demo ./cmd/demo
	@DEMO_SECONDS=$(DEMO_SECONDS) bin/demo

test: lint unit charm fuzz integration hostile pebble ## run all checks

format: ## run gofmt
	gofmt -w proxy tests

lint: ## check formatting and go.mod files, run go vet and linters
	@unformatted=$$(gofmt -l proxy tests); test -z "$$unformatted" || { echo "not formatted (run make format):"; echo "$$unformatted"; exit 1; }
	@echo "linters (golangci-lint is built once)"
	@for module in $(MODULES); do \
		echo "lint $$module"; \
		(cd $$module && go mod tidy -diff && go vet ./... && $(LINT) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; \
	done

unit: ## run unit tests with the race detector, and tests against Prometheus's own parser
	go test -race ./proxy/...
	cd tests && go test ./suites/differential

fuzz: ## run each fuzz target for FUZZTIME, a duration or a number of inputs such as 20000x (with a duration, the fuzzer sometimes fails at the end on a busy machine)
	go test -run '^$$' -fuzz FuzzMerge -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./proxy/exposition
	go test -run '^$$' -fuzz FuzzProtobuf -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./proxy/exposition
	cd tests && go test -run '^$$' -fuzz FuzzMerge -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./suites/differential

fuzz-resources: ## look for small bodies that take much CPU time or memory, for FUZZTIME (15m is a good duration)
	go test -run '^$$' -fuzz FuzzResources -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./proxy/exposition

components: ## build the third-party programs that the tests run, once
	@echo "components (built once, about 10 minutes on 2 cores)"
	@cd tests && go run ./cmd/components

integration: components $(UV) ## test on a real API server, real exporters and a real Prometheus; test the image in Docker, and the files of the charm
	@docker info >/dev/null 2>&1 && command -v umoci skopeo >/dev/null || echo "SKIPPED: the tests of the image, because Docker is not running or umoci or skopeo is missing (.ci/docker installs and starts them)"
	@tests/modules/tools/charmcraft/install >/dev/null || echo "SKIPPED: the charmcraft checks of charm/charmcraft.yaml, because charmcraft cannot be installed (it needs PyPI, and Python 3.10 or later with venv)"
	cd tests && UV=$(UV) go test -count=1 -timeout 20m $$(go list ./... | grep -v suites/hostile)

hostile: components ## test with pods that try to take the program down (alone, because the deadlines are real)
	cd tests && go test -count=1 -timeout 10m ./suites/hostile

pebble: components $(UV) ## test with the rock's version of Pebble and with Juju's
	cd tests/suites/pebble && UV=$(UV) go test -count=1 -timeout 10m ./...

charm: $(UV) ## check formatting and types of the charm, run its linters and unit tests (installs uv into bin/ if it is missing)
	$(MAKE) -C charm lint unit UV=$(UV)

$(CURDIR)/bin/uv/bin/uv:
	python3 -m venv bin/uv
	bin/uv/bin/pip install --quiet uv==0.13.9

spread: components ## run the tasks of spread.yaml on this machine; TASKS=tests/suites/spread/rock/starts runs one task, TASKS=tests/suites/spread/rock/ a suite; tasks that cannot run on this machine are skipped, or fail with NO_SKIP=1
	@go build -C tests -o $(CURDIR)/bin/spreadrun ./cmd/spreadrun
	@bin/spreadrun -project . $(if $(NO_SKIP),-no-skip) $(TASKS)

rock-image: ## build bin/*.rock, the image of rockcraft.yaml, without rockcraft, and load it into Docker if Docker is running
	cd tests && go run ./cmd/rockimage $(shell docker info >/dev/null 2>&1 && echo -docker)

bench: ## measure reading and merging, the time to the first scrape with 1,000 pods, and whole processes compared with two baselines
	@mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count 6 ./proxy/exposition > bin/bench.txt
	$(BENCHSTAT) bin/bench.txt
	cd tests && go test -count=1 -run '^$$' -bench . -benchtime 10x ./suites/integration
	cd tests && go run ./cmd/bench

clean: ## remove what was built here; built components stay in ~/.cache/metrics-k8s-proxy
	rm -rf bin metrics-proxy

# make demo: see it work.   make test: all checks.   The rest is below.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
TAGS    ?= embed_nats
LDFLAGS  = -X main.version=$(VERSION)

.PHONY: demo demo-nats build test lint unit root test-deploy test-kube release fuzz bench bench-go bench-root clean deps deps-test deps-deploy

demo: build ## install what is missing, build, and mirror a small server to two others
	scripts/run-as-root ./kagami demo

demo-nats: build ## the same, through a broker
	scripts/run-as-root ./kagami demo --nats

build: deps ## the kagami binary, with libpcap, and the broker of demo --nats; TAGS= leaves that out
	CGO_ENABLED=1 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o kagami ./cmd/kagami

test: deps-test lint unit root ## everything CI runs

lint: ## formatting, vet, staticcheck
	scripts/lint

# What starts no goroutines gains nothing by the race detector, under which it takes minutes.
PURE = ./filter ./capture/kernel ./internal/gor ./internal/governor ./internal/http1 ./internal/http2 ./internal/journal ./internal/websocket
# Of the other packages: sessions of the command, which are processes of their own; random models and large inputs
# of one goroutine. NATS's run processes.
SLOW = Scripts$$|^Test(PaceDoesNotDrift|RowsLoadIntoTheTable|SpoolRandomly|FileIsFull|FilesReadAheadIsBoundedInBytes|NATS.*)$$

unit: ## all tests that need no root, with the race detector where there are goroutines; capture without cgo
	$(GO) test -race -skip '^Test(Root|Deploy)|$(SLOW)' $$($(GO) list ./... | grep -vxE "$$($(GO) list ./capture $(PURE) | paste -sd'|')")
	$(GO) test -race -run 'Listener|File|VXLAN' ./capture
	$(GO) test -run '$(SLOW)' ./cmd/kagami ./e2e/nats ./output ./replay/... ./internal/spool
	CGO_ENABLED=0 $(GO) test -skip '^TestRoot' . ./capture/... $(PURE)

test-deploy: deps-deploy ## docs/deploy on the real things: a Docker engine, dpkg, supervisord, systemd; needs root
	scripts/test-root '^TestDeploy'

test-kube: deps-deploy ## the Kubernetes and Helm pages on a real API server, which compiles for a quarter of an hour at first
	scripts/test-root '^TestKube'

root: build ## end to end on real nginx in network namespaces; needs root
	scripts/test-root

release: ## archives, .deb and .rpm of both architectures, in dist/
	VERSION='$(VERSION)' scripts/release

fuzz: ## every fuzz target for FUZZTIME (10m)
	scripts/fuzz $(or $(FUZZTIME),10m)

bench: build deps-test ## what mirroring costs production, beside nginx: as root, 45 minutes on a quiet machine; BENCH=-quick for 4
	scripts/bench $(BENCH)

bench-go: ## the Go benchmark of each hot step, with allocations; needs no root
	$(GO) test -run '^$$' -bench . -skip '^BenchmarkRoot' -benchmem ./...

bench-root: build deps-test ## production while staging is in trouble; needs root and a quiet machine
	$(GO) test -run '^$$' -bench '^BenchmarkRoot' -benchtime 1x -v ./bench

deps: ## gcc and libpcap's headers, if they are missing
	scripts/deps build

deps-test: deps ## what the tests need beside: nginx, ab, wrk, iproute2, …
	scripts/deps test

deps-deploy: deps ## what test-deploy needs beside: docker.io, supervisor, …
	scripts/deps deploy

clean:
	rm -rf kagami bench/tmp

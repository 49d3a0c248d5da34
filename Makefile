# `make` shows what there is.
.DEFAULT_GOAL := help
.PHONY: help build demo test crash power-cuts fmt tables image grid-up grid-down grid-logs bench advisories

# Docker 20.10 builds with BuildKit only when told; newer engines do it anyway.
export DOCKER_BUILDKIT := 1
export COMPOSE_DOCKER_CLI_BUILD := 1

# What the labels of the image say.
image grid-up: export POSTERN_VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
image grid-up: export POSTERN_REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# The client that can build comes first on the PATH, because docker-compose calls whatever is there.
with_docker = docker=$$(scripts/docker-client.sh) && PATH="$$(dirname "$$docker"):$$PATH"
# Compose v2 is a plug-in of the client, 1.29 a program of its own.
with_compose = $(with_docker) && \
	if "$$docker" compose version >/dev/null 2>&1; then compose="$$docker compose"; \
	elif command -v docker-compose >/dev/null; then compose=docker-compose; \
	else echo "make: neither 'docker compose' nor docker-compose here (apt-get install docker-compose)" >&2; exit 69; fi

help: ## show this help
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## compile the relay for release: target/release/postern
	cargo build --locked --release

demo: build ## a relay with a little mail in trouble, on this machine alone; Ctrl-C ends it
	@target/release/postern demo

test: ## all checks and all tests, with one summary at the end; as root on Debian it installs what is missing first
	@scripts/prepare.sh
	scripts/test.sh

crash: ## kill -9 under load, 50 rounds, and full volumes; counts what arrives (as root)
	scripts/crash.sh

power-cuts: ## cut the power of a virtual machine under load, 100 times; counts what arrives (as root)
	scripts/power-cuts.sh

fmt: ## format the code
	cargo fmt --all

tables: ## make docs/class.md and the tables of other pages anew from appliance/mta.toml and Cargo.lock
	scripts/tables.py

image: ## build the image `postern`
	scripts/base-images.sh
	$(with_docker) && "$$docker" build -t postern \
		--build-arg VERSION="$$POSTERN_VERSION" --build-arg REVISION="$$POSTERN_REVISION" .

grid-up: ## build and start the example grid in the background
	scripts/base-images.sh
	$(with_compose) && $$compose up --detach --build && $$compose ps
	@echo "mta http://localhost:8080   webapp :8081   mx :8082   Prometheus :9090   Pushgateway :9091"

grid-down: ## stop the example grid; its volumes (data, inbox, metrics) stay
	$(with_compose) && $$compose down

grid-logs: ## follow what the example grid says
	$(with_compose) && $$compose logs --follow --tail 50

bench: build ## rates, CPU per mail, latency and syncs beside Postfix; writes docs/performance.md (as root, on an idle machine; two hours, one of them churn)
	cargo build --locked --release --example load --example submit
	benches/throughput.py
	benches/submission.py
	benches/scale.py
	benches/page.py

advisories: ## check the dependencies for known security advisories (needs the internet)
	cargo deny check advisories

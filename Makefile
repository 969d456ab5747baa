# Short names for the everyday commands; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: build test run-example versus soak overload fmt vet clean tidy help

CARGO ?= cargo
ARGS ?=

build: ## Build the library and the examples, optimised
	$(CARGO) build --workspace --release --lib --examples

test: ## Run every test
	$(CARGO) test --workspace

run-example: ## Run the echo server: make run-example ARGS="--addr :9000 --max-conn 100"
	$(CARGO) run --release --example echo -- $(ARGS)

versus: ## Measure wheelhouse beside async runtimes: make versus ARGS="--quick"
	$(CARGO) run --release -p wheelhouse-versus -- $(ARGS)

soak: ## An hour of good, slow and hostile peers: make soak ARGS="--minutes 3"
	$(CARGO) build --release -p wheelhouse-chat
	$(CARGO) run --release -p wheelhouse-soak -- soak $(ARGS)

overload: ## Up to three times the load that can be served: make overload ARGS="--step-ms 500"
	$(CARGO) run --release -p wheelhouse-soak -- overload $(ARGS)

fmt: ## Format the code
	$(CARGO) fmt --all

vet: ## Lint the code and build the docs; a warning is an error
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

clean: ## Remove what was built
	$(CARGO) clean

tidy: ## Bring Cargo.lock in step with Cargo.toml, and check that it is
	$(CARGO) update --workspace
	$(CARGO) metadata --locked --format-version 1 > /dev/null

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

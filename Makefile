# make run    a working server on this machine        make test   every test
# make bench  against SeaweedFS, in one run            make lint   formatting rules, lints, licences
# make fuzz   every parser under random bytes         make profile  how it runs, for the compiler
# make bench-sealing  against itself with a null cipher
SHELL := /bin/bash
CACHE := $(or $(GOTGAN_CACHE),$(HOME)/.cache/gotgan)
export CARGO_TARGET_DIR ?= $(CACHE)/target
DATA ?= $(CURDIR)/data
# Builds RocksDB once, outside the checkout, for every profile and clone.
CARGO = eval "$$(.ci/deps)" && cargo

.PHONY: run test lint fuzz bench bench-sealing profile demo deps build
run: build
	$(CARGO_TARGET_DIR)/release/gotgan serve --data "$(DATA)" $(ARGS)

build: deps
	$(CARGO) build --release --locked -p gateway

deps:
	@.ci/needs build
	@.ci/deps >/dev/null

test: deps
	@.ci/needs test
	$(CARGO) build --release --locked -p gateway
	$(CARGO) test --release --locked --workspace

lint: deps
	@.ci/needs lint
	cargo fmt --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	export RUSTDOCFLAGS=-Dwarnings; $(CARGO) doc --release --locked --workspace --no-deps
	$(CACHE)/deny/bin/cargo-deny --locked check --hide-inclusion-graph licenses bans sources
	$(CACHE)/deny/bin/cargo-deny --locked --manifest-path integration-tests/fuzz/Cargo.toml --config .cargo/deny.toml \
		check --hide-inclusion-graph licenses bans sources

# Each parser under guided random bytes, SECONDS of them each, or TARGET alone.
fuzz: deps
	integration-tests/fuzz/run "$(TARGET)" "$(SECONDS)"

bench: build
	@.ci/needs bench
	integration-tests/bench/compare

bench-sealing: deps
	@.ci/needs bench
	eval "$$(.ci/deps)" && integration-tests/bench/sealing

# What the compiler goes by: again when hot code has changed.
profile: deps
	@.ci/needs bench
	integration-tests/bench/profile

demo: build
	@.ci/needs test
	$(CARGO) test --release --locked -p integration-tests --test demo -- --nocapture

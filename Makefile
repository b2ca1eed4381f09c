# Two commands are enough: `make run` and `make test`. The others are for those who change the code.

SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: run test check check-long bench sqlx snapshots fmt postgres

## Build Freehold and start it here, with a PostgreSQL of its own.
run: postgres
	cargo run --release --package freehold -- up

## Everything that is tested on every change.
test: postgres
ifdef NEXTEST
	cargo nextest run --workspace
	cargo test --quiet --workspace --doc
else
	cargo test --workspace
endif

## Format, lints, house rules, checked queries, snapshots.
check: postgres
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask tidy
	cargo xtask sqlx --check
	cargo doc --quiet --workspace --no-deps --document-private-items

## The long forms: a quarter of an hour, not seconds. Run before a release.
check-long: postgres
	FREEHOLD_LONG=1 cargo test --release --workspace -- --nocapture --include-ignored long_
	scripts/schemathesis
	scripts/fuzz

## Figures, beside their ceilings, in one run. Takes a few minutes and wants a quiet machine.
bench: postgres
	bench/run

## Renew what the query macros know of the database.
sqlx: postgres
	cargo xtask sqlx

## Accept what the API, events, permissions and schema have become; review the diff.
snapshots: postgres
	FREEHOLD_SNAPSHOTS=write cargo test --package freehold --test it -- snapshots documents

fmt:
	cargo fmt --all

## PostgreSQL's binaries: used where they are, installed where we may, asked for otherwise.
postgres:
	@./scripts/postgres

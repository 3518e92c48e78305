# The whole interface of this checkout; plain `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help run check advisories archives rooms chaos domains attack guardian simulation interop tls bench budget fuzz differential mutants reproducible properties generate setup

CARGO := cargo

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: setup ## two federated domains on this machine: a scripted conversation, then ready for your clients
	@echo "Building the server; the first time this takes some minutes."
	@$(CARGO) build --quiet --bin comity
	@./target/debug/comity demo

check: setup ## everything that CI checks: format, lints, tests, what servers wrote in them, documentation
	@echo "== format"
	@$(CARGO) fmt --check
	@echo "== lints (the first build takes some minutes)"
	@$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	@echo "== tests"
	@tools/judges
	@rm -rf target/written
	@COMITY_WRITTEN=$(CURDIR)/target/written COMITY_JUDGES=$(CURDIR)/target/judges $(CARGO) test --quiet --workspace
	@echo "== what the servers wrote in the tests, against schemas/"
	@tools/validate target/written
	@echo "== documentation"
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --no-deps --document-private-items
	@echo "== all green"

interop: setup ## Prosody, ejabberd, real clients, public test suites (needs root; SUITE_JAR=path: one more suite)
	@echo "Building the server."
	@$(CARGO) build --quiet --bin comity
	@COMITY=$(CURDIR)/target/debug/comity interop/run --json target/interop.json
	@COMITY=$(CURDIR)/target/debug/comity interop/clients/run --json target/clients.json
	@COMITY=$(CURDIR)/target/debug/comity interop/suites/run --json target/suites.json $(if $(SUITE_JAR),--jar $(SUITE_JAR))

tls: setup ## testssl.sh and sslscan against every listener; fails on a finding of medium or above (RECORD=1: into docs/tls.md)
	@echo "Building the server."
	@$(CARGO) build --quiet --bin comity
	@COMITY=$(CURDIR)/target/debug/comity interop/tls/run --json target/tls.json $(if $(RECORD),--record)

bench: setup ## Comity, Prosody, ejabberd and the floors side by side; what strangers cost (QUICK=1: a short look at the servers)
	@benches/load/peers
	@echo "Building; the first time this takes some minutes."
	@$(CARGO) build --quiet --profile $(if $(QUICK),quick,release) -p comity --bin comity -p comity-load --bin comity-load
	@mkdir -p docs/performance
	@./target/$(if $(QUICK),quick,release)/comity-load $(if $(QUICK),--quick --json target/bench.json,--json docs/performance/measurements.json --document docs/performance.md)
	@$(if $(QUICK),true,$(CARGO) bench --quiet --bench gate --bench flood)

archives: setup ## pages of archives of ten million messages, beside those of the others (10 GB of disk; QUICK=1: small ones)
	@benches/load/peers
	@$(CARGO) build --quiet --release -p comity --bin comity --example fill_archive -p comity-load --bin comity-load
	@./target/release/comity-load archive $(if $(QUICK),--quick,--document docs/archive.md)

rooms: setup ## rooms: copies, entries and memory, beside Prosody, ejabberd and the floor (QUICK=1: a short look)
	@benches/load/peers
	@$(CARGO) build --quiet --release -p comity --bin comity -p comity-load --bin comity-load
	@./target/release/comity-load rooms $(if $(QUICK),--quick,--rounds 3 --document docs/performance-rooms.md)

simulation: setup ## three servers in simulated time, 1,000 stories (SEEDS=n: so many; SEED=n: one, with its trace)
	@$(if $(SEED),SEED=$(SEED),SEEDS=$(or $(SEEDS),1000)) $(CARGO) test --quiet --test simulation $(if $(SEED),nothing) -- --nocapture

chaos: setup ## ends Comity 500 times under load, breaks its connections and its disk, then all servers side by side
	@CRASHES=$(or $(CRASHES),500) CUTS=$(or $(CUTS),all) $(CARGO) test --quiet --test crash -- --nocapture
	@OUTBOX=$(or $(OUTBOX),10000) CRASHES=$(or $(OUTBOX_CRASHES),50) $(CARGO) test --quiet --test outbox -- --nocapture
	@ORDER=$(or $(ORDER),10000000) $(CARGO) test --quiet --release --test crash every_number -- --nocapture
	@FAULTS_POINTS=20000 FAULTS_EVERY=1 FAULTS_FLIPS=20000 $(CARGO) test --quiet --test faults -- --nocapture --test-threads 1
	@$(MAKE) --no-print-directory simulation
	@benches/load/peers
	@$(CARGO) build --quiet --release -p comity --bin comity -p comity-load --bin comity-load
	@./target/release/comity-load crash --document docs/reliability.md

domains: setup ## a thousand other domains at once, and a hostile one beside honest ones (QUICK=1: a short look)
	@benches/load/peers
	@$(CARGO) build --quiet --release -p comity --bin comity -p comity-load --bin comity-load
	@./target/release/comity-load domains $(if $(QUICK),--quick,--rounds 3 --document docs/performance.md)
	@./target/release/comity-load hostile $(if $(QUICK),--quick,--document docs/performance.md)

attack: setup ## thirteen attacks at once beside people who talk, and what answers tell by the time they take (QUICK=1: a short look)
	@$(CARGO) build --quiet --release -p comity --bin comity -p comity-load --bin comity-load
	@./target/release/comity-load attack $(if $(QUICK),--quick)
	@$(CARGO) bench --quiet --bench timing

guardian: setup ## kills another server 50 times while messages and presence are on their way (KILLS=n)
	@KILLS=$(or $(KILLS),50) $(CARGO) test --quiet --test guardian -- --nocapture

budget: setup ## instructions of one message against the committed budget (UPDATE=1: rewrite it)
	@tools/valgrind
	@echo "Building; the first time this takes some minutes."
	@$(CARGO) bench --quiet --profile budget --bench gate -- budget

fuzz: setup ## what may come from strangers, 20 minutes for each target (MINUTES=n, TARGETS="...", QUICK=1: 20 seconds)
	@tools/fuzz $(if $(QUICK),--seconds 20,--minutes $(or $(MINUTES),20) $(if $(MINUTES),,--record)) $(TARGETS)

differential: setup ## ten million inputs that are let in: others read as we do what came and what we write (INPUTS=n)
	@tools/fuzz --compared $(or $(INPUTS),10000000) $(if $(INPUTS),,--record)

mutants: setup ## whether tests notice when the code is changed; takes hours (MODULES="...", SHARD=k/n)
	@tools/mutants --record $(if $(SHARD),--shard $(SHARD)) $(MODULES)

reproducible: setup ## two clean builds of the release make the same program (RECORD=1: into docs/security.md)
	@tools/reproducible $(if $(RECORD),--record)

advisories: setup ## whether something is known to be wrong with crates of others (cargo-deny; fetches the database)
	@tools/deny

properties: setup ## the property tests of everything that meets strangers, a thousand times longer; a million stanzas and their senders
	@PROPTEST_CASES=256000 $(CARGO) test --quiet --release --lib -- stream:: jid:: xml:: sasl
	@SENDERS=$(or $(SENDERS),1000000) $(CARGO) test --quiet --release --lib -- --nocapture a_million_stanzas

generate: setup ## rewrite the files that are generated from the sources
	@UPDATE=1 $(CARGO) test --quiet generated

setup:
	@tools/setup

# Targets for people and for .ci/run. `make help` lists them.

GO       ?= go
FUZZTIME ?= 20s
FUZZSHARE ?= 1/1
RACESHARE ?= 1/1
ROUNDS   ?= 4
SECONDS  ?= 60
SEEDS    ?= 300
INCREMENTS ?= 1000000000
EVENTS   ?= 100000000
HISTORIES ?= 1000000
# The broker of `make likes`: kfake, which needs nothing, or kafka (needs Java, and Maven for the first time).
BROKER   ?= kfake
# Extra arguments, e.g. `make run ARGS="--port 7000"`, `make bench ARGS="-only 1"`.
ARGS     ?=
# Where build and connect put the programs, and install takes them from.
OUT      ?= bin
# Where install puts files: below DESTDIR, for packages, which is no part of any path in them.
DESTDIR  ?=
PREFIX   ?= /usr/local
SYSCONFDIR ?= /etc
# The older build that `make bench-before` compares this one with.
BEFORE   ?=

# Of the lines that it reads, the share that RACESHARE names.
raceshare = awk -v s=$(RACESHARE) '{ split(s, p, "/") } NR % p[2] == p[1] % p[2]'

# Only the race detector needs a C compiler; everything else builds without.
export CGO_ENABLED = 0

.DEFAULT_GOAL := help
.PHONY: help build connect install generate run attacks test test-long race lint mutants fuzz oracle bench bench-quick bench-before bench-regions accuracy demo cluster regions likes chaos soak soak-events test-pulsar bench-events simulation regions-check tools clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/quipu
	$(GO) build -trimpath -o $(OUT)/quipu ./cmd/quipu

# A configuration that is there stays: it is its owner's.
install: build ## install program, manual pages, completion, systemd unit, configuration and licence (PREFIX, SYSCONFDIR, DESTDIR); quipu-connect too, if make connect has built it
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d \
		$(DESTDIR)$(PREFIX)/share/doc/quipu $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(SYSCONFDIR)/quipu
	for program in $(OUT)/quipu $(OUT)/quipu-connect $(OUT)/quipu-connect-pulsar; do \
		if [ -e $$program ]; then install -m 755 $$program $(DESTDIR)$(PREFIX)/bin/ || exit; fi; done
	install -m 644 ops/quipu.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 ops/quipu.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 ops/quipu.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/quipu
	install -m 644 ops/_quipu $(DESTDIR)$(PREFIX)/share/zsh/site-functions/
	install -m 644 ops/quipu.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/
	install -m 644 LICENSE ops/quipu.conf $(DESTDIR)$(PREFIX)/share/doc/quipu/
	install -m 644 ops/quipu.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/quipu.conf
	sed -e 's,@bindir@,$(PREFIX)/bin,' -e 's,@sysconfdir@,$(SYSCONFDIR),' ops/quipu.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/quipu.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/quipu.service
	[ -e $(DESTDIR)$(SYSCONFDIR)/quipu/quipu.conf ] || install -m 640 ops/quipu.conf $(DESTDIR)$(SYSCONFDIR)/quipu/

generate: ## write the manual pages, the commented configuration and the completion in ops anew
	$(GO) test -count=1 ./internal/packaging -run TestGenerated -rewrite

connect: ## build bin/quipu-connect and bin/quipu-connect-pulsar, which count events from Kafka, Pulsar and files
	$(GO) build -C connect -trimpath -ldflags '-s -w' -o $(abspath $(OUT))/ ./cmd/...

run: build ## build, then serve on localhost:6379 with data in ./quipu-data
	./bin/quipu server $(ARGS)

test: ## run all tests (needs only Go; uses redis-server where it is installed)
	$(GO) test $(ARGS) ./...
	$(GO) test -C connect $(ARGS) ./...

test-long: ## run the server's tests in their long form: more rounds, more cases, all measurements in small (of quipu-connect: soak-events, test-pulsar)
	QUIPU_TEST_LONG=1 $(GO) test $(ARGS) ./...

race: ## run the tests and the servers they start under the race detector (needs a C compiler), or with RACESHARE=1/2 every other package
	CGO_ENABLED=1 QUIPU_TEST_RACE=1 $(GO) test -race -short -timeout 15m $(ARGS) $$($(GO) list ./... | $(raceshare))
	CGO_ENABLED=1 QUIPU_TEST_RACE=1 $(GO) test -C connect -race -short -timeout 15m $(ARGS) $$($(GO) list -C connect ./... | $(raceshare))

lint: ## gofmt, go vet for Linux and macOS, and the project's own rules
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then \
		echo "gofmt would change:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) vet -C bench/etcd ./...
	$(GO) vet -C connect ./...
	$(GO) test -count=1 ./internal/lint

mutants: ## break the code in ways that tests once overlooked, and demand that a test fails (ARGS=word for some, ARGS=-passed if all tests have just passed)
	$(GO) run ./internal/mutants $(ARGS)

fuzz: ## run every fuzz target for FUZZTIME (20s) each, or with FUZZSHARE=1/3 one in three
	GO=$(GO) ./internal/toolbox/fuzz.sh $(FUZZTIME) $(FUZZSHARE)

oracle: ## compare millions of random commands with redis-server's replies (needs redis-server and gcc); QUIPU_ORACLE_COMMANDS, QUIPU_TEST_SEED
	QUIPU_ORACLE_COMMANDS=$${QUIPU_ORACLE_COMMANDS:-3000000} $(GO) test -count=1 -v -timeout 4h -run TestAgainstRedis ./internal/oracle

simulation: ## clusters in virtual time, SEEDS of them, about one a second; every reply is checked
	QUIPU_SIM_SEEDS=$(SEEDS) $(GO) test -count=1 -v -timeout 0 -run TestSimulation $(ARGS) ./internal/sim

chaos: ## clients on three nodes that are killed, frozen, cut off and wiped; every reply is checked (ROUNDS of SECONDS each; an hour: ROUNDS=60)
	QUIPU_CHAOS_ROUNDS=$(ROUNDS) QUIPU_CHAOS_SECONDS=$(SECONDS) $(GO) test -count=1 -v -timeout 0 -run TestChaos $(ARGS) ./internal/chaos

soak: ## count to INCREMENTS (10^9, a quarter of an hour) on three nodes, one fault every 10 s; says how many were lost and doubled: none
	QUIPU_SOAK_INCREMENTS=$(INCREMENTS) $(GO) test -count=1 -v -timeout 0 -run TestSoak $(ARGS) ./internal/chaos

regions-check: ## play HISTORIES (a million) random histories of regions to the rules of shared counters, and as many to replicas of the engine: a quarter of an hour
	QUIPU_REGION_SEEDS=$(HISTORIES) $(GO) test -count=1 -timeout 0 -run 'TestModel$$' $(ARGS) ./engine/shared
	QUIPU_REGION_SEEDS=$(HISTORIES) $(GO) test -count=1 -timeout 0 -run 'TestRegionsFollowRules$$' $(ARGS) ./engine

soak-events: ## count EVENTS (10^8, some hours) from Apache Kafka while connectors, nodes and the broker are killed; every count is compared
	QUIPU_EVENTS=$(EVENTS) $(GO) test -C connect -count=1 -v -timeout 0 -run 'TestKafka$$' $(ARGS) ./internal/chaos

test-pulsar: ## install Apache Pulsar (250 MB, two minutes) and count 300,000 events of it while everything is killed
	./internal/toolbox/install.sh pulsar
	QUIPU_TEST_LONG=1 QUIPU_REQUIRE_PULSAR=1 $(GO) test -C connect -count=1 -v -timeout 30m $(ARGS) ./pulsar

bench: build ## measure Quipu beside redis-server, half an hour; writes bench/results.md and plots
	$(GO) run ./bench $(ARGS)

bench-quick: build ## the same in small, 4 minutes, into bench-results; says less
	$(GO) run ./bench -quick -out bench-results $(ARGS)

bench-before: build ## measure an older build BEFORE=/path/to/quipu beside this one, 15 minutes (ARGS=-quick: 3); into bench-results
	@test -n "$(BEFORE)" || { echo "bench-before needs BEFORE=/path/to/older/quipu"; exit 1; }
	$(GO) run ./bench -before "$(BEFORE)" $(ARGS)

bench-regions: build ## measure regions, bars G1 to G8, a quarter of an hour, into bench-results; and the plots of docs/regions.md
	$(GO) run ./bench -only regions,regions-more -out bench-results $(ARGS)
	cp bench-results/plots/regions-*.svg docs/plots

bench-events: build ## measure quipu-connect beside a bare consumer, kcat and Kafka Streams (needs Kafka: make tools); into bench-results
	$(GO) run -C connect ./bench $(ARGS)

attacks: build ## measure what clients that count notice of seventeen attacks, 7 minutes; writes the table of docs/security.md
	$(GO) run ./bench -only attacks -rounds 3 -seconds 2 -out bench-results -readme docs/security.md -tables $(ARGS)

accuracy: ## measure the errors of the sketches, 2 minutes; writes docs/sketches.md and docs/plots
	$(GO) run ./bench/accuracy $(ARGS)

demo: build ## count 20,000 flights, with kill -9 in the middle, and check every count: on one node, then on three
	$(GO) run ./examples/flights -demo -server bin/quipu $(ARGS)
	@echo
	$(GO) run ./examples/flights -demo -server bin/quipu -nodes 3 -top 3 $(ARGS)

cluster: build ## run three nodes on this machine, to try what happens when one fails; Ctrl-C stops them
	$(GO) run ./examples/cluster -server bin/quipu $(ARGS)

regions: build ## run three regions on this machine, with 80 ms between them, links to cut and a live table; Ctrl-C stops them
	$(GO) run ./examples/regions -server bin/quipu $(ARGS)

likes: build ## likes that add up, to be clicked: three nodes, a broker, two connectors, SQLite and a web page; Ctrl-C removes all (BROKER=kafka: the real one)
	$(GO) build -C connect -trimpath -ldflags '-s -w' -o ../bin/ ./cmd/quipu-connect ./testbed/kfake ./likes
	@exec ./bin/likes -programs bin -broker $(BROKER) $(ARGS)

tools: ## install what the tests in other languages run with (Debian packages need root)
	./internal/toolbox/install.sh

clean: ## remove bin (data stays)
	rm -rf bin

# lithify: see README.md. `make` builds, `make image` makes a Debian disk image,
# `make test` runs everything, `make bench` compares with the peers.

# The build tags are set here once; .ci/run and people call make.
export CGO_ENABLED = 0
export GOFLAGS = -buildvcs=false -tags=containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper

PREFIX ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
NAMES = disk-image-create ramdisk-image-create diskimage-builder element-info dib-block-device dib-run-parts dib-lint

.PHONY: all image test unit vet bench fuzz install clean tools test-tools
all: bin/lithify

bin/lithify: FORCE
	go build -ldflags '-s -w -X main.release=$(VERSION)' -o $@ ./cmd/lithify
	@for name in $(NAMES); do ln -sf lithify bin/$$name; done

.PHONY: FORCE
FORCE:

# What a build of debian-minimal needs of its host; what the tests need beside.
tools:
	@contrib/host-tools build
test-tools:
	@contrib/host-tools build test

# GOFLAGS may matter to what a hook builds, so it is keyed: ours is for us only.
image: bin/lithify tools
	env -u GOFLAGS -u CGO_ENABLED bin/disk-image-create -o debian debian-minimal vm

vet:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofmt'd: $$out"; exit 1; }
	go vet ./...

# Many tests wait for the disk: more packages at a time than processors, the
# longest one first. vet has looked already; half of a link is debugging data.
TESTS ?= 3
test: bin/lithify test-tools vet
	go test -p $(TESTS) -vet=off -ldflags='-s -w' -timeout 80m ./cmd/lithify ./...

bench: bin/lithify test-tools
	contrib/bench

install: bin/lithify
	install -D -m 0755 bin/lithify $(DESTDIR)$(PREFIX)/bin/lithify
	@for name in $(NAMES); do ln -sf lithify $(DESTDIR)$(PREFIX)/bin/$$name; done

clean:
	rm -rf bin

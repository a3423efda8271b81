package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// slimming is what Debian's and Ubuntu's container images have that a machine
// must not: written as their makers' scripts leave it.
const slimming = `set -eu
cd "$1"
printf 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };\nDir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n' > etc/apt/apt.conf.d/docker-clean
printf 'Acquire::GzipIndexes "true";\n' > etc/apt/apt.conf.d/docker-gzip-indexes
printf 'Apt::AutoRemove::SuggestsImportant "false";\n' > etc/apt/apt.conf.d/docker-autoremove-suggests
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n' > etc/dpkg/dpkg.cfg.d/excludes
printf '#!/bin/sh\nexit 101\n' > usr/sbin/policy-rc.d
chmod +x usr/sbin/policy-rc.d
chroot . dpkg-divert --local --rename --add /sbin/initctl
ln -s /bin/true sbin/initctl
rm -f etc/apt/sources.list etc/apt/sources.list.d/* etc/resolv.conf etc/hostname
printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' > etc/apt/sources.list.d/debian.sources
rm -rf var/lib/apt/lists/* var/cache/apt/* usr/share/doc/* usr/share/man/*
find dev run -xdev -mindepth 1 -delete
`

// containerOfDebian pushes a container image as Debian publishes it to a registry
// of ours, and has the build start from it: the essential packages, no kernel, no
// init.
func containerOfDebian(t *testing.T, b *debianBuild) {
	t.Helper()
	r, dir := newImages(t), scratch(t)
	tree, archive := filepath.Join(dir, "tree"), filepath.Join(dir, "tree.tar")
	for _, args := range [][]string{
		{"mmdebstrap", "--variant=minbase", "bookworm", tree, "http://deb.debian.org/debian"},
		{"sh", "-c", slimming, "sh", tree},
		{"tar", "-C", tree, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-cf", archive, "."},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("making a container image: %v: %v\n%s", args, err, out)
		}
	}
	for _, absent := range []string{"boot/vmlinuz-*", "sbin/init", "usr/sbin/grub-install"} {
		if found, err := filepath.Glob(filepath.Join(tree, absent)); err != nil || len(found) > 0 {
			t.Fatalf("the container image has %v (%v): it shows nothing", found, err)
		}
	}
	layer, err := tarball.LayerFromFile(archive, tarball.WithMediaType(types.OCILayer))
	must(t, err)
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	must(t, err)
	config, err := image.ConfigFile()
	must(t, err)
	config.OS, config.Architecture = "linux", "amd64"
	image, err = mutate.ConfigFile(image, config)
	must(t, err)
	must(t, crane.Push(image, r.host+"/library/debian:bookworm"))
	must(t, os.RemoveAll(tree))
	b.env = append(b.env, "DIB_BASE_IMAGE="+r.host+"/library/debian:${DIB_RELEASE}")
}

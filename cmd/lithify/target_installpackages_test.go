package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallPackages: what each package manager is called with.
func TestInstallPackages(t *testing.T) {
	dir := put(t, map[string]string{"map/web": testMap, "blacklist": "bad\nworse\n"})
	swap(t, &pkgMapDirs, []string{filepath.Join(dir, "map")})
	swap(t, &yumBlacklist, filepath.Join(dir, "blacklist"))
	const apt = "apt-get --assume-yes --option Dpkg::Options::=--force-confdef --option Dpkg::Options::=--force-confold "
	const zypper = "zypper --non-interactive --gpg-auto-import-keys "
	for _, c := range []struct {
		has, args string
		env       []string
		called    string
		code      int
	}{
		{"apt-get dnf", "a b", nil, apt + "install -- a b\n", 0},
		{"apt-get", "-u", nil, apt + "dist-upgrade\n", 0},
		{"apt-get", "-e a|b c", nil, apt + "remove -- a b c\n", 0},
		{"apt-get", "-d a", nil, apt + "--download-only install -- a\n", 0},
		{"apt-get", "-m web ssh two", nil, apt + "install -- openssh-server a b\n", 0},
		{"apt-get", "-m web none", nil, "", 0},
		{"apt-get", "-m web unknown", nil, "", 1},
		{"apt-get", "-m other ssh", nil, "", 2},
		{"apt-get", "", nil, "", 0},
		{"apt-get", "-e", nil, "", 0},
		{"apt-get", "-x a", nil, "", 1},
		{"dnf", "a bad b", nil, "dnf -y -v install a b\ndnf -y mark install a b\n", 0},
		{"dnf", "bad", nil, "", 0},
		{"dnf", "-u", nil, "dnf -y -v update\n", 0},
		{"dnf", "-e bad", nil, "dnf -y -v remove bad\n", 0},
		{"dnf", "-d /there a", nil, "dnf -y -v --downloadonly --downloaddir=/there install a\n", 0},
		{"yum", "a", []string{"YUM_FLAGS=-y --quiet"}, "yum -y --quiet install a\n", 0},
		{"dnf yum", "a", []string{"YUM=yum"}, "yum -y -v install a\n", 0},
		{"dnf", "a", []string{"YUM=yum"}, "", 1},
		{"dnf5", "a", []string{"YUM=dnf5"}, "dnf5 -y install a\ndnf5 -y mark user a\n", 0},
		{"zypper", "a", nil, zypper + "install --no-recommends -- a\n", 0},
		{"zypper", "-e a", nil, zypper + "remove --clean-deps -- a\n", 0},
		{"zypper", "-u", nil, zypper + "dist-upgrade --no-recommends\n", 0},
		{"zypper", "-d a", nil, zypper + "install --no-recommends --download-only -- a\n", 0},
		{"", "a", nil, "", 1},
	} {
		programs := map[string]string{"none": ""}
		for _, name := range strings.Fields(c.has) {
			programs[name] = "#!/bin/sh\necho " + name + " \"$@\" >> \"$NOTES\"\n[ \"$DEBIAN_FRONTEND\" = noninteractive ]\n"
		}
		bin := put(t, programs)
		t.Setenv("PATH", bin)
		notes := filepath.Join(bin, "notes")
		env := append([]string{"DISTRO_NAME=debian", "DIB_RELEASE=bookworm", "NOTES=" + notes}, c.env...)
		var args []string
		for _, word := range strings.Fields(c.args) {
			args = append(args, strings.ReplaceAll(word, "|", " "))
		}
		code, _, stderr := call(t, env, "install-packages", args...)
		called, _ := os.ReadFile(notes)
		if code != c.code || string(called) != c.called {
			t.Errorf("%s: install-packages %s: code %d, called %q, want %d, %q: %s", c.has, c.args, code, called, c.code, c.called, stderr)
		}
	}
}

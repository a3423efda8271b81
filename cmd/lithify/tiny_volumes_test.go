package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

const (
	volumeSecret = "kein Wort davon"
	volumeSeed   = "und hiervon auch nicht"
)

// encryptedLayout is LVM on LUKS on a partition.
const encryptedLayout = `DIB_BLOCK_DEVICE_CONFIG=[
{"local_loop": {"name": "image0"}},
{"partitioning": {"base": "image0", "label": "gpt", "partitions": [
  {"name": "main", "type": "8309", "size": "100%", "luks": {"name": "crypt", "pbkdf": "pbkdf2", "iterations": 1000, "key_env": "TEST_PASSPHRASE", SEED}}]}},
{"lvm": {"pvs": [{"name": "pv", "base": "crypt"}], "vgs": [{"name": "vg", "base": ["pv"]}], "lvs": [
  {"name": "lv_root", "base": "vg", "extents": "70%VG", "mkfs": {"mount": {"mount_point": "/", "fstab": {}}}},
  {"name": "lv_var", "base": "vg", "extents": "100%FREE", "mkfs": {"type": "ext4", "mount": {"mount_point": "/var", "fstab": {}}}}]}}]`

// thinLayout has a file system on a thin volume.
const thinLayout = `DIB_BLOCK_DEVICE_CONFIG=[
{"local_loop": {"name": "image0"}},
{"lvm": {"pvs": [{"name": "pv", "base": "image0"}], "vgs": [{"name": "vg", "base": ["pv"]}], "lvs": [
  {"name": "pool", "base": "vg", "extents": "100%FREE", "type": "thin-pool"},
  {"name": "lv_root", "base": "vg", "size": "1GiB", "type": "thin", "thin-pool": "pool", "mkfs": {"mount": {"mount_point": "/", "fstab": {}}}}]}}]`

func (w *tiny) encrypted(seed string) *tiny {
	return w.with(strings.Replace(encryptedLayout, "SEED", seed, 1), "TEST_PASSPHRASE="+volumeSecret, "TEST_SEED="+volumeSeed)
}

// TestTinyEncrypted: root and an ordinary user make the same disk of LVM on LUKS,
// without device-mapper; cryptsetup opens it; the secrets are nowhere to be found.
func TestTinyEncrypted(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "cryptsetup")
	root, user := newTiny(t, nil).encrypted(`"seed_env": "TEST_SEED"`), newTiny(t, ordinaryUser(t)).encrypted(`"seed_env": "TEST_SEED"`)
	args := []string{"--reproducible", "--image-size", "160MiB"}
	for _, w := range []*tiny{root, user} {
		w.write("app/install.d/70-dump", "#!/bin/sh\nenv; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; set\n")
		w.build("web", "raw,qcow2", args...)
		w.checkSecrets()
	}
	for _, ext := range []string{"raw", "qcow2"} {
		sameBits(t, root.path("web."+ext), user.path("web."+ext))
	}
	volume := filepath.Join(root.dir, "volume")
	foreign(t, root.out, "dd", "if=web.raw", "of="+volume, "bs=1M", "skip=1", "status=none")
	for key, opens := range map[string]bool{volumeSecret: true, volumeSeed: false, volumeSecret + "\n": false} {
		root.opens(volume, key, opens)
	}
}

// TestTinyNewPassphrase: the same image with another passphrase is another image,
// and hooks learn neither, though no disk is made.
func TestTinyNewPassphrase(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "cryptsetup")
	w := newTiny(t, nil).encrypted(`"label": "x"`)
	w.write("app/install.d/70-dump", "#!/bin/sh\nenv; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; set\n")
	w.build("web", "tar")
	w.checkSecrets()
	w.build("web", "raw", "--image-size", "160MiB")
	const second = "ein anderes Wort"
	w = w.with("TEST_PASSPHRASE=" + second)
	if r := w.build("web", "raw", "--image-size", "160MiB"); r.nothing {
		t.Error("there was nothing to do")
	}
	volume := filepath.Join(w.dir, "volume")
	foreign(t, w.out, "dd", "if=web.raw", "of="+volume, "bs=1M", "skip=1", "status=none")
	for key, opens := range map[string]bool{volumeSecret: false, second: true} {
		w.opens(volume, key, opens)
	}
}

// opens sees whether a passphrase opens a volume.
func (w *tiny) opens(volume, key string, opens bool) {
	w.t.Helper()
	cmd := exec.Command("cryptsetup", "open", "--test-passphrase", "--key-file", "-", volume)
	cmd.Stdin = strings.NewReader(key)
	if out, err := cmd.CombinedOutput(); (err == nil) != opens {
		w.t.Errorf("%q: %v: %s", key, err, out)
	}
}

// checkSecrets looks into every file that the build left.
func (w *tiny) checkSecrets() {
	w.t.Helper()
	w.checkSecretsAre(volumeSecret, volumeSeed)
}

// checkSecretsAre looks for these secrets.
func (w *tiny) checkSecretsAre(all ...string) {
	w.t.Helper()
	must(w.t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range all {
			if bytes.Contains(data, []byte(secret)) {
				w.t.Errorf("%s holds %q", path, secret)
			}
		}
		return err
	}))
}

// TestTinyEncryptedMistakes: what is wrong with a secret, or cannot be, shows
// before anything is built.
func TestTinyEncryptedMistakes(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).encrypted(`"label": "x"`)
	w.fails(exitUsage, w.with("TEST_PASSPHRASE=").create("a", "raw"), "TEST_PASSPHRASE is empty or not set")
	w.fails(exitUsage, w.create("a", "raw", "--reproducible"), "come from chance", "seed_file")
	for change, said := range map[string]string{
		`"iterations": 1000`: `"iterations": 999`, `"label": "x"`: `"label": "cloudimg-rootfs"`, `"pbkdf": "pbkdf2"`: `"key_size": 384`,
	} {
		bad := *w
		bad.env = slices.Clone(w.env)
		for i, e := range bad.env {
			bad.env[i] = strings.Replace(e, change, said, 1)
		}
		w.fails(exitUsage, bad.create("a", "raw"), "crypt")
	}
	seeded := newTiny(t, nil).encrypted(`"seed_env": "TEST_SEED"`)
	seeded.fails(exitUsage, seeded.create("a", "raw", "--backend", "loop"), "takes its keys from chance", "--backend file")
	thin := newTiny(t, nil).with(thinLayout)
	thin.fails(exitUsage, thin.create("a", "raw", "--backend", "file"), "thin", "--backend loop")
	missing := newTiny(t, nil).with(strings.NewReplacer(`"key_env": "TEST_PASSPHRASE"`, `"key_file": "/no/such/key"`, ", SEED", "").Replace(encryptedLayout))
	missing.fails(exitUsage, missing.create("a", "raw"), "/no/such/key", "no such file")
	closed := newTiny(t, nil).with(strings.NewReplacer(`"key_env": "TEST_PASSPHRASE"`, `"key_fd": 77`, ", SEED", "").Replace(encryptedLayout))
	closed.fails(exitUsage, closed.create("a", "raw"), "file descriptor 77")
	// encryptedLayout without its cheap derivation, and with a boot loader inside.
	usual := newTiny(t, nil).with(strings.NewReplacer(`"pbkdf": "pbkdf2", "iterations": 1000, `, "", ", SEED", "").Replace(encryptedLayout), "TEST_PASSPHRASE="+volumeSecret)
	usual.names = []string{"debian-minimal", "vm"}
	usual.fails(exitUsage, usual.create("a", "raw"), `/boot lies inside "crypt"`, "argon2id", "allowed: pbkdf: pbkdf2, type: luks1")
	for _, each := range []*tiny{w, seeded, thin, missing, closed, usual} {
		each.nothingLeft()
	}
}

// TestTinyKeyDescriptor: a passphrase comes through an open file.
func TestTinyKeyDescriptor(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "cryptsetup")
	w := newTiny(t, nil).with(strings.NewReplacer(`"key_env": "TEST_PASSPHRASE"`, `"key_fd": 3`, ", SEED", "").Replace(encryptedLayout))
	r, pipe, err := os.Pipe()
	must(t, err)
	_, err = pipe.WriteString(volumeSecret)
	must(t, err)
	must(t, pipe.Close())
	cmd := w.create("web", "raw", "--image-size", "160MiB")
	cmd.ExtraFiles = []*os.File{r}
	if res := w.runCommand(cmd); res.code != 0 {
		t.Fatal(res)
	}
	w.checkSecrets()
	volume := filepath.Join(w.dir, "volume")
	foreign(t, w.out, "dd", "if=web.raw", "of="+volume, "bs=1M", "skip=1", "status=none")
	w.opens(volume, volumeSecret, true)
}

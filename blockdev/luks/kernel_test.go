package luks

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/guest"
)

// kernelScript opens every disk by the second passphrase, compares its file
// system's content, leaves a file there, and makes another volume of its own on
// the last.
const kernelScript = `
export DM_DISABLE_UDEV=1
for disk in %s; do
	/usr/sbin/cryptsetup open --type luks --key-file /key /dev/$disk open
	/usr/sbin/cryptsetup status open
	mkdir -p /m
	mount -t ext4 /dev/mapper/open /m
	(cd /m; sha256sum -c sums)
	echo "from the kernel, $disk" >/m/reply
	cat /m/content /m/content >/m/copy
	umount /m
	/usr/sbin/cryptsetup close open
done
`

// TestKernel: the kernel reads what was written here, and the other way round.
func TestKernel(t *testing.T) {
	guest.Need(t, "cryptsetup", "mke2fs", "e2fsck", "debugfs")
	kernel := guest.Kernel(t)
	plain, content := fileSystem(t)
	options := []Options{
		{SectorSize: 4096, PBKDF: PBKDF{Memory: 1024, Iterations: 4, Threads: 2}},
		{SectorSize: 512, PBKDF: quick, KeySize: 256, Hash: "sha512"},
		{Version: 1, PBKDF: quick},
	}
	var volumes []made
	machine := guest.Guest{
		Modules: []string{"virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "dm_crypt", "xts", "ecb", "algif_skcipher"},
		Tools:   []string{"cryptsetup"},
	}
	var names []string
	for i, o := range options {
		o.Size = Overhead(o) + int64(len(plain))
		m := onFile(t, o.Size)
		v, err := Format(m.file, o, bytesOf([]string{"first", "second"}))
		if err != nil {
			t.Fatal(err)
		}
		writeOddly(t, v, plain)
		volumes = append(volumes, m)
		machine.Disks, names = append(machine.Disks, m.path), append(names, fmt.Sprintf("vd%c", 'a'+i))
	}
	machine.Script = fmt.Sprintf(kernelScript, strings.Join(names, " "))
	machine.Files = map[string]string{"/key": volumes[0].write("key", []byte("second"))}
	if ran := kernel.Run(t, machine); ran.Status != 0 || strings.Count(ran.Output, "content: OK") != len(options) {
		t.Fatalf("status %d: %s", ran.Status, ran.Output)
	}
	for i, m := range volumes {
		m.judgeReply(names[i], content)
	}
}

// fileSystem gives an ext4 with a file "content" and its checksum.
func fileSystem(t *testing.T) (image, content []byte) {
	t.Helper()
	dir := t.TempDir()
	content = make([]byte, 3<<20+77)
	rand.NewChaCha8([32]byte{5}).Read(content)
	if err := os.WriteFile(filepath.Join(dir, "content"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plain")
	out, err := exec.Command("sh", "-ec", `cd "$1"; sha256sum content >sums; mke2fs -q -t ext4 -b 4096 -d . "$2" 24M`, "sh", dir, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	image, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image, content
}

// writeOddly writes in pieces that end anywhere, and closes the volume.
func writeOddly(t *testing.T, v *Volume, b []byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 3))
	for at := 0; at < len(b); {
		n := min(1+random.IntN(200_000), len(b)-at)
		if _, err := v.WriteAt(b[at:at+n], int64(at)); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

// judgeReply finds what the kernel wrote.
func (m made) judgeReply(disk string, content []byte) {
	m.t.Helper()
	v, err := Open(m.file, m.size, []byte("first"))
	if err != nil {
		m.t.Error(err)
		return
	}
	defer v.Close()
	image := make([]byte, v.Size())
	if _, err := v.ReadAt(image, 0); err != nil {
		m.t.Error(err)
		return
	}
	path := m.write("image", image)
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		m.t.Errorf("%s: %v\n%s", disk, err, out)
	}
	for name, want := range map[string][]byte{"/reply": []byte("from the kernel, " + disk + "\n"), "/copy": append(bytes.Clone(content), content...)} {
		got, err := exec.Command("debugfs", "-R", "cat "+name, path).Output()
		if err != nil || !bytes.Equal(got, want) {
			m.t.Errorf("%s: %s is of %d bytes, %v", disk, name, len(got), err)
		}
	}
}

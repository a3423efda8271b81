package luks

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/guest"
)

// TestGRUB: GRUB's own code finds a file in volumes with PBKDF2, and only with the
// right passphrase.
func TestGRUB(t *testing.T) {
	guest.Need(t, "grub-fstest", "mke2fs")
	plain, content := fileSystem(t)
	for name, o := range map[string]Options{
		"LUKS1":                {Version: 1},
		"LUKS1, 256 bits":      {Version: 1, KeySize: 256},
		"LUKS2, sectors small": {SectorSize: 512},
		"LUKS2, sectors large": {SectorSize: 4096},
		"LUKS2, SHA-512":       {KeySize: 256, Hash: "sha512"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.PBKDF = quick
			o.Size = Overhead(o) + int64(len(plain))
			m := onFile(t, o.Size)
			v, err := Format(m.file, o, bytesOf([]string{"a pass", "another"}))
			if err != nil {
				t.Fatal(err)
			}
			writeOddly(t, v, plain)
			reads := func(passphrase string) (string, error) {
				cmd := exec.Command("grub-fstest", "-C", m.path, "cmp", "(crypto0)/content", m.write("content", content))
				cmd.Stdin = strings.NewReader(passphrase + "\n")
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			if out, err := reads("another"); err != nil || !strings.Contains(out, "opened") {
				t.Errorf("%v: %s", err, out)
			}
			if out, err := reads("other"); err == nil || strings.Contains(out, "opened") {
				t.Errorf("a wrong passphrase: %s", out)
			}
		})
	}
}

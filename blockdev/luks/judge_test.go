package luks

import (
	"bytes"
	"crypto/aes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	stock "golang.org/x/crypto/xts"

	"github.com/lithify/lithify/blockdev/guest"
)

// quick is a derivation that costs next to nothing.
var quick = PBKDF{Kind: PBKDF2, Iterations: 1000}

// judged are volumes of every kind that Format writes.
var judged = []struct {
	name       string
	options    Options
	dump       []string // lines of luksDump, blanks folded
	json       bool
	passphrase []string
}{
	{"luks2", Options{Size: 18 << 20, PBKDF: PBKDF{Memory: 64, Iterations: 4, Threads: 1}},
		[]string{"Version: 2", "offset: 16777216 [bytes]", "sector: 4096 [bytes]", "PBKDF: argon2id", "Key: 512 bits", "Area length:258048 [bytes]", "Keyslots area: 16744448 [bytes]"},
		true, []string{"first", "second\nwith a line feed\n", "\x00\xff"}},
	{"named", Options{Size: 18<<20 + 512, UUID: "A1A2A3A4-0000-4000-8000-0123456789AB", Label: "a label", Subsystem: "its system", KeySize: 256, Hash: "sha512",
		PBKDF: PBKDF{Kind: Argon2i, Memory: 64, Iterations: 5, Threads: 4}},
		[]string{"UUID: a1a2a3a4-0000-4000-8000-0123456789ab", "Label: a label", "Subsystem: its system", "sector: 512 [bytes]", "PBKDF: argon2i", "Time cost: 5", "Threads: 4", "Key: 256 bits", "AF hash: sha512"},
		true, []string{"pass", "word"}},
	{"grub", Options{Size: 18 << 20, SectorSize: 512, PBKDF: quick}, []string{"PBKDF: pbkdf2", "Iterations: 1000", "sector: 512 [bytes]"},
		true, []string{"one"}},
	{"luks1", Options{Version: 1, Size: 4<<20 + 512, PBKDF: quick},
		[]string{"Version: 1", "Cipher mode: xts-plain64", "Hash spec: sha256", "Payload offset: 4096", "MK bits: 512", "Key Slot 2: ENABLED", "Key Slot 3: DISABLED", "Key material offset: 8"},
		false, []string{"one", "two", "three"}},
	{"luks1 short", Options{Version: 1, Size: 4 << 20, PBKDF: quick, KeySize: 256, Hash: "sha1", UUID: "a1a2a3a4-0000-4000-8000-0123456789ab"},
		[]string{"MK bits: 256", "Hash spec: sha1", "Payload offset: 4096", "UUID: a1a2a3a4-0000-4000-8000-0123456789ab"}, false, []string{"one"}},
}

func bytesOf(texts []string) [][]byte {
	out := make([][]byte, len(texts))
	for i, text := range texts {
		out[i] = []byte(text)
	}
	return out
}

// made is a volume on a file of its own.
type made struct {
	t    *testing.T
	path string
	file *os.File
	size int64
}

func onFile(t *testing.T, size int64) made {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return made{t, path, file, size}
}

// write keeps b in a file beside the volume.
func (m made) write(name string, b []byte) string {
	m.t.Helper()
	path := filepath.Join(filepath.Dir(m.path), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// format makes the volume and fills its payload.
func (m made) format(o Options, passphrases []string) (payload []byte) {
	m.t.Helper()
	v, err := Format(m.file, o, bytesOf(passphrases))
	if err != nil {
		m.t.Fatal(err)
	}
	payload = make([]byte, v.Size())
	rand.NewChaCha8([32]byte{7}).Read(payload)
	if _, err := v.WriteAt(payload, 0); err != nil {
		m.t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		m.t.Fatal(err)
	}
	return payload
}

// opens checks that the volume opens by a passphrase and holds the payload.
func (m made) opens(passphrase string, payload []byte) {
	m.t.Helper()
	v, err := Open(m.file, m.size, []byte(passphrase))
	if err != nil {
		m.t.Errorf("opening with %q: %v", passphrase, err)
		return
	}
	defer v.Close()
	got := make([]byte, v.Size())
	if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, payload) {
		m.t.Errorf("opened with %q: other content, %v", passphrase, err)
	}
}

// cryptsetup runs it, in batch mode.
func (m made) cryptsetup(args ...string) (string, error) {
	out, err := exec.Command("cryptsetup", append([]string{"--batch-mode"}, args...)...).CombinedOutput()
	return string(out), err
}

// must is cryptsetup where it has to succeed.
func (m made) must(args ...string) string {
	m.t.Helper()
	out, err := m.cryptsetup(args...)
	if err != nil {
		m.t.Fatalf("cryptsetup %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestCryptsetup(t *testing.T) {
	guest.Need(t, "cryptsetup")
	for _, test := range judged {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := onFile(t, test.options.Size)
			payload := m.format(test.options, test.passphrase)
			m.must("isLuks", m.path)
			dump := strings.Join(strings.Fields(m.must("luksDump", m.path)), " ")
			for _, line := range test.dump {
				if !strings.Contains(dump, line) {
					t.Errorf("no %q in %s", line, dump)
				}
			}
			if test.json {
				m.judgeHeaders()
			}
			m.judgeKeys(test.passphrase)
			m.judgeKey(test.options, test.passphrase[0], payload)
			m.judgeChanges(test.passphrase, payload)
			m.judgePayload(test.options.Version, test.passphrase[0], payload)
		})
	}
}

// judgeHeaders: the metadata is JSON, and both headers are whole and say the same.
func (m made) judgeHeaders() {
	m.t.Helper()
	if !json.Valid([]byte(m.must("luksDump", "--dump-json-metadata", m.path))) {
		m.t.Error("metadata is no JSON")
	}
	first, text, err := header2(m.file, m.size, 0, magic)
	if err != nil {
		m.t.Fatal(err)
	}
	second, other, err := header2(m.file, m.size, int64(first.Size), secondMagic)
	if err != nil || !bytes.Equal(text, other) || first.UUID != second.UUID || first.Label != second.Label || first.Sequence != second.Sequence {
		m.t.Errorf("the headers differ, %v", err)
	}
}

// judgeKeys: each passphrase opens its own slot, no other, and a wrong one none.
func (m made) judgeKeys(passphrases []string) {
	m.t.Helper()
	for i, p := range passphrases {
		key := m.write("key", []byte(p))
		for slot := range passphrases {
			_, err := m.cryptsetup("open", "--test-passphrase", "--key-slot", strconv.Itoa(slot), "--key-file", key, m.path)
			if (err == nil) != (slot == i) {
				m.t.Errorf("passphrase %d, slot %d: %v", i, slot, err)
			}
		}
	}
	for _, wrong := range []string{"wrong", passphrases[0] + "\n", passphrases[0][1:]} {
		out, err := m.cryptsetup("open", "--test-passphrase", "--key-file", m.write("key", []byte(wrong)), m.path)
		if wrong != "" && (err == nil || !strings.Contains(out, "No key available")) {
			m.t.Errorf("%q: %v, %s", wrong, err, out)
		}
		if v, err := Open(m.file, m.size, []byte(wrong)); wrong != "" && (v != nil || err != ErrPassphrase) {
			m.t.Errorf("%q: %v", wrong, err)
		}
	}
}

// judgeKey decrypts the payload with the key that cryptsetup finds and somebody
// else's XTS.
func (m made) judgeKey(o Options, passphrase string, payload []byte) {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), "volume-key")
	m.must("luksDump", "--dump-volume-key", "--volume-key-file", path, "--key-file", m.write("key", []byte(passphrase)), m.path)
	key, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	peer, err := stock.NewCipher(aes.NewCipher, key)
	if err != nil {
		m.t.Fatal(err)
	}
	o, err = o.complete()
	if err != nil {
		m.t.Fatal(err)
	}
	got := make([]byte, len(payload))
	if _, err := m.file.ReadAt(got, Overhead(o)); err != nil {
		m.t.Fatal(err)
	}
	for at := 0; at < len(got); at += o.SectorSize {
		peer.Decrypt(got[at:at+o.SectorSize], got[at:at+o.SectorSize], uint64(at/512))
	}
	if !bytes.Equal(got, payload) {
		m.t.Error("the volume key decrypts to something else")
	}
}

// judgeChanges: cryptsetup adds, changes and removes keys, saves and restores the
// header, and the volume still opens.
func (m made) judgeChanges(passphrases []string, payload []byte) {
	m.t.Helper()
	cheap := []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}
	first, added, changed := m.write("first", []byte(passphrases[0])), m.write("added", []byte("added")), m.write("changed", []byte("changed"))
	backup := filepath.Join(m.t.TempDir(), "header")
	m.must(append(cheap, "luksAddKey", "--key-file", first, m.path, added)...)
	m.must("luksHeaderBackup", m.path, "--header-backup-file", backup)
	m.opens("added", payload)
	m.must(append(cheap, "luksChangeKey", "--key-file", added, m.path, changed)...)
	m.opens("changed", payload)
	if v, err := Open(m.file, m.size, []byte("added")); v != nil || err != ErrPassphrase {
		m.t.Errorf("the old passphrase: %v", err)
	}
	m.must("luksRemoveKey", m.path, changed)
	m.opens(passphrases[0], payload)
	if v, err := Open(m.file, m.size, []byte("changed")); v != nil || err != ErrPassphrase {
		m.t.Errorf("the removed passphrase: %v", err)
	}
	m.must("luksHeaderRestore", m.path, "--header-backup-file", backup)
	m.opens("added", payload)
	for _, p := range passphrases {
		m.opens(p, payload)
	}
}

// judgePayload lets cryptsetup itself decrypt the whole volume into the file, which
// moves the payload to its start.
func (m made) judgePayload(version int, passphrase string, payload []byte) {
	m.t.Helper()
	if version == 1 {
		// Decrypting a file in place is for LUKS2, whose headers are larger.
		m.must("convert", "--type", "luks2", m.path)
		m.opens(passphrase, payload)
		return
	}
	header := filepath.Join(m.t.TempDir(), "header")
	m.must("reencrypt", "--decrypt", "--force-offline-reencrypt", "--header", header, "--key-file", m.write("key", []byte(passphrase)), m.path)
	got := make([]byte, len(payload))
	if _, err := m.file.ReadAt(got, 0); err != nil || !bytes.Equal(got, payload) {
		m.t.Errorf("cryptsetup decrypts to something else, %v", err)
	}
}

// TestOpensCryptsetups: volumes that cryptsetup made and filled open here.
func TestOpensCryptsetups(t *testing.T) {
	guest.Need(t, "cryptsetup")
	argon := []string{"--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "2"}
	for _, args := range [][]string{
		append([]string{"--type", "luks2"}, argon...),
		append([]string{"--type", "luks2", "--sector-size", "512", "--key-size", "256", "--pbkdf", "argon2i", "--label", "its"}, argon...),
		{"--type", "luks2", "--sector-size", "2048", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1234", "--hash", "sha512", "--luks2-metadata-size", "64k", "--luks2-keyslots-size", "8m", "--offset", "40000"},
		{"--type", "luks2", "--sector-size", "4096", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"},
		{"--type", "luks1", "--pbkdf-force-iterations", "1000"},
		{"--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-size", "256", "--hash", "sha1", "--align-payload", "64"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			m := onFile(t, 24<<20)
			key, other := m.write("key", []byte("key\n")), m.write("other", []byte("other"))
			m.must(append([]string{"luksFormat", "--key-file", key, m.path}, args...)...)
			m.must("luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", key, m.path, other)
			v, err := Open(m.file, m.size, []byte("key\n"))
			if err != nil {
				t.Fatal(err)
			}
			payload := make([]byte, v.Size())
			rand.NewChaCha8([32]byte{8}).Read(payload)
			if _, err := v.WriteAt(payload, 0); err != nil {
				t.Fatal(err)
			}
			m.opens("other", payload)
			if v, err := Open(m.file, m.size, []byte("key")); v != nil || err != ErrPassphrase {
				t.Errorf("without the line feed: %v", err)
			}
			path := filepath.Join(t.TempDir(), "volume-key")
			m.must("luksDump", "--dump-volume-key", "--volume-key-file", path, "--key-file", other, m.path)
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			x := newXTS(want, v.SectorSize(), 0)
			got := make([]byte, len(payload))
			x.encrypt(got, payload, 0)
			on, err := os.ReadFile(m.path)
			if err != nil || !bytes.HasSuffix(on, got) {
				t.Errorf("the payload is not at the end of the file as it should be, %v", err)
			}
		})
	}
}

// TestEncryptedByCryptsetup: content that cryptsetup encrypted.
func TestEncryptedByCryptsetup(t *testing.T) {
	guest.Need(t, "cryptsetup")
	for _, size := range []int{512, 4096} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			m := onFile(t, 36<<20)
			payload := make([]byte, 4<<20)
			rand.NewChaCha8([32]byte{9}).Read(payload)
			if _, err := m.file.WriteAt(payload, 0); err != nil {
				t.Fatal(err)
			}
			m.must("reencrypt", "--encrypt", "--force-offline-reencrypt", "--resilience", "none", "--type", "luks2", "--reduce-device-size", "32m", "--sector-size", strconv.Itoa(size),
				"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", m.write("key", []byte("key")), m.path)
			v, err := Open(m.file, m.size, []byte("key"))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(payload))
			if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("other content, %v", err)
			}
			if v.SectorSize() != size {
				t.Errorf("sectors of %d", v.SectorSize())
			}
		})
	}
}

// TestSecondHeader: with the first header broken cryptsetup mends it from the
// second, and with either broken Open opens.
func TestSecondHeader(t *testing.T) {
	guest.Need(t, "cryptsetup")
	for _, at := range []int64{0, 100, 5000, 16 << 10, 16<<10 + 5000} {
		m := onFile(t, 18<<20)
		payload := m.format(Options{Size: m.size, PBKDF: quick}, []string{"pass"})
		if _, err := m.file.WriteAt([]byte("broken"), at); err != nil {
			t.Fatal(err)
		}
		m.opens("pass", payload)
		key := m.write("key", []byte("pass"))
		m.must("repair", m.path)
		m.must("open", "--test-passphrase", "--key-file", key, m.path)
		first, text, err := header2(m.file, m.size, 0, magic)
		if err != nil {
			t.Errorf("byte %d: not mended: %v", at, err)
			continue
		}
		second, other, err := header2(m.file, m.size, 16<<10, secondMagic)
		if err != nil || !bytes.Equal(text, other) || first.Sequence != second.Sequence || first.Salt == second.Salt {
			t.Errorf("byte %d: the headers differ after repair: %v", at, err)
		}
		m.opens("pass", payload)
	}
}

// TestStaleFirstHeader: a change that reached only the second header counts.
func TestStaleFirstHeader(t *testing.T) {
	guest.Need(t, "cryptsetup")
	m := onFile(t, 18<<20)
	payload := m.format(Options{Size: m.size, PBKDF: quick}, []string{"pass"})
	stale := make([]byte, 16<<10)
	if _, err := m.file.ReadAt(stale, 0); err != nil {
		t.Fatal(err)
	}
	added := m.write("added", []byte("added"))
	m.must("luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", m.write("key", []byte("pass")), m.path, added)
	if _, err := m.file.WriteAt(stale, 0); err != nil {
		t.Fatal(err)
	}
	m.opens("added", payload)
	m.must("open", "--test-passphrase", "--key-file", added, m.path)
}

// TestManySlots: as many slots as there may be, for which the headers grow.
func TestManySlots(t *testing.T) {
	guest.Need(t, "cryptsetup")
	for version, most := range map[int]int{1: slots1, 2: slots2} {
		passphrases := make([]string, most)
		for i := range passphrases {
			passphrases[i] = fmt.Sprint("passphrase ", i)
		}
		m := onFile(t, 17<<20)
		payload := m.format(Options{Version: version, Size: m.size, PBKDF: quick}, passphrases)
		for i, p := range passphrases {
			m.must("open", "--test-passphrase", "--key-slot", strconv.Itoa(i), "--key-file", m.write("key", []byte(p)), m.path)
		}
		m.opens(passphrases[most-1], payload)
		if _, err := Format(m.file, Options{Version: version, Size: m.size, PBKDF: quick}, append(bytesOf(passphrases), []byte("more"))); err == nil {
			t.Errorf("LUKS%d: %d slots", version, most+1)
		}
	}
}

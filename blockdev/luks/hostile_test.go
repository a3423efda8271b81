package luks

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// tight are limits that let a test try thousands of headers.
func tight() *limits { return &limits{memory: 256, passes: 4096, rounds: 20_000} }

// sample is the header region of a volume whose passphrase is "p".
func sample(t testing.TB, version int) memory {
	t.Helper()
	dev := make(memory, 17<<20)
	o := Options{Version: version, Size: int64(len(dev)), PBKDF: quick, UUID: someUUID}
	v, err := Format(dev, o, bytesOf([]string{"p"}))
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	return dev
}

// sign mends the checksum of the header of room bytes at an offset.
func sign(dev memory, at, room int) {
	raw := dev[at : at+room]
	clear(raw[sumStart : sumStart+64])
	copy(raw[sumStart:], sum2(raw, checksum2))
}

// withJSON gives a device whose one header, the first, holds this metadata.
func withJSON(dev memory, text string) memory {
	dev = bytes.Clone(dev)
	clear(dev[4096 : 32<<10])
	room := leastRoom
	for room-binaryRoom <= len(text) && room < mostRoom {
		room *= 2
	}
	binary.BigEndian.PutUint64(dev[8:], uint64(room))
	copy(dev[4096:room], text)
	sign(dev, 0, room)
	return dev
}

func TestHostileMetadata(t *testing.T) {
	dev := sample(t, 2)
	good := text(dev[4096 : 16<<10])
	if v, err := Open(withJSON(dev, good), int64(len(dev)), []byte("p")); err != nil {
		t.Fatal(err)
	} else if v.Size() != 1<<20 {
		t.Fatalf("%d bytes", v.Size())
	}
	argon := func(costs string) [2]string {
		return [2]string{`"type":"pbkdf2","hash":"sha256","iterations":1000,"salt"`, costs + `,"salt"`}
	}
	for _, test := range [][2]string{
		{`"offset":"16777216"`, `"offset":"17825792"`},
		{`"offset":"16777216"`, `"offset":"-4096"`},
		{`"offset":"16777216"`, `"offset":"4096"`},
		{`"offset":"16777216"`, `"offset":"16777217"`},
		{`"offset":"16777216"`, `"offset":"9223372036854775807"`},
		{`"offset":"16777216"`, `"offset":"99999999999999999999"`},
		{`"offset":"16777216"`, `"offset":16777216`},
		{`"size":"dynamic"`, `"size":"0"`},
		{`"size":"dynamic"`, `"size":"-1"`},
		{`"size":"dynamic"`, `"size":"1048577"`},
		{`"size":"dynamic"`, `"size":"1000"`},
		{`"size":"dynamic"`, `"size":"x"`},
		{`"sector_size":4096`, `"sector_size":0`},
		{`"sector_size":4096`, `"sector_size":-512`},
		{`"sector_size":4096`, `"sector_size":513`},
		{`"sector_size":4096`, `"sector_size":1e400`},
		{`"sector_size":4096`, `"sector_size":4096,"integrity":{"type":"hmac(sha256)"}`},
		{`"type":"crypt"`, `"type":"linear"`},
		{`"iv_tweak":"0"`, `"iv_tweak":"-1"`},
		{`"segments":{"0":{`, `"segments":{"1":{"type":"crypt","offset":"0","size":"1","iv_tweak":"0"},"0":{`},
		{`"segments":["0"]`, `"segments":["1"]`},
		{`"segments":["0"]`, `"segments":[]`},
		{`"offset":"32768"`, `"offset":"0"`},
		{`"offset":"32768"`, `"offset":"-32768"`},
		{`"offset":"32768"`, `"offset":"16777216"`},
		{`"offset":"32768"`, `"offset":"9223372036854775807"`},
		{`"size":"258048"`, `"size":"255999"`},
		{`"size":"258048"`, `"size":"9223372036854775807"`},
		{`"size":"258048"`, `"size":"-1"`},
		{`"key_size":64,"af"`, `"key_size":0,"af"`},
		{`"key_size":64,"af"`, `"key_size":1000000000,"af"`},
		{`"key_size":64,"af"`, `"key_size":-64,"af"`},
		{`"key_size":64},"kdf"`, `"key_size":48},"kdf"`},
		{`"stripes":4000`, `"stripes":1000000000`},
		{`"stripes":4000`, `"stripes":0`},
		{`"type":"luks1"`, `"type":"luks3"`},
		{`"hash":"sha256"},"area"`, `"hash":"whirlpool"},"area"`},
		{`"encryption":"aes-xts-plain64","key_size"`, `"encryption":"null","key_size"`},
		{`"encryption":"aes-xts-plain64","sector`, `"encryption":"serpent-xts-plain64","sector`},
		argon(`"type":"pbkdf2","hash":"sha256","iterations":9223372036854775807`),
		argon(`"type":"pbkdf2","hash":"sha256","iterations":4000000000`),
		argon(`"type":"pbkdf2","hash":"sha256","iterations":0`),
		argon(`"type":"pbkdf2","hash":"sha256","iterations":-5`),
		argon(`"type":"pbkdf2","hash":"","iterations":1000`),
		argon(`"type":"argon2id","time":4,"memory":4194304,"cpus":4`),
		argon(`"type":"argon2id","time":4000000000,"memory":64,"cpus":4`),
		argon(`"type":"argon2i","time":9223372036854775807,"memory":1048576,"cpus":4`),
		argon(`"type":"argon2i","time":9223372036854775807,"memory":9223372036854775807,"cpus":4`),
		argon(`"type":"argon2id","time":4,"memory":-1,"cpus":4`),
		argon(`"type":"argon2id","time":0,"memory":64,"cpus":4`),
		argon(`"type":"argon2id","time":4,"memory":64,"cpus":0`),
		argon(`"type":"argon2id","time":4,"memory":64,"cpus":100000`),
		argon(`"type":"scrypt","time":4,"memory":64,"cpus":1`),
		{`"keyslots":{"0"`, `"keyslots":{"x"`},
		{`"keyslots":{"0":{`, `"keyslots":{"0":{"priority":0,`},
		{`"digests":{"0"`, `"digests":{"x":3,"0"`},
		{`"iterations":1000,"salt"`, `"iterations":100000000000,"salt"`},
		{`"json_size":"12288"`, `"json_size":"16384"`},
		{`"json_size":"12288"`, `"json_size":"12288","requirements":{"mandatory":["online-reencrypt"]}`},
		{`"json_size":"12288"`, `"json_size":"12288","requirements":["offline-reencrypt"]`},
		{good, ``},
		{good, `{}`},
		{good, `null`},
		{good, `[1]`},
		{good, strings.Repeat(`{"keyslots":`, 900)},
		{good, strings.Repeat(`[`, 4<<20-4097)},
		{good, good[:len(good)/2]},
	} {
		bad := strings.ReplaceAll(good, test[0], test[1])
		if bad == good {
			t.Errorf("%q is not in the metadata", test[0])
			continue
		}
		start := time.Now()
		v, err := Open(withJSON(dev, bad), int64(len(dev)), []byte("p"))
		if v != nil || err == nil {
			t.Errorf("%.100q: opened", test[1])
		}
		if since := time.Since(start); since > 5*time.Second {
			t.Errorf("%.100q took %v: %v", test[1], since, err)
		}
	}
}

func TestHostileHeaders(t *testing.T) {
	one, two := sample(t, 1), sample(t, 2)
	put := func(dev memory, at int, b ...byte) memory {
		dev = bytes.Clone(dev)
		copy(dev[at:], b)
		return dev
	}
	both := func(at int, b ...byte) memory {
		dev := put(two, at, b...)
		copy(dev[16<<10+at:], b)
		sign(dev, 0, 16<<10)
		sign(dev, 16<<10, 16<<10)
		return dev
	}
	ff := bytes.Repeat([]byte{0xff}, 8)
	for name, dev := range map[string]memory{
		"nothing":                    make(memory, len(two)),
		"version 3":                  both(6, 0, 3),
		"sizes of zero":              both(8, make([]byte, 8)...),
		"largest sizes":              both(8, ff...),
		"no power of two":            both(8, 0, 0, 0, 0, 0, 0, 0x50, 0),
		"offsets wrong":              both(256, ff...),
		"an unknown hash":            both(72, 'm', 'd', '5', 0),
		"both checksums wrong":       put(put(two, sumStart, 1, 2, 3), 16<<10+sumStart, 1, 2, 3),
		"LUKS1, no payload":          put(one, 104, 0, 0, 0, 0),
		"LUKS1, payload far away":    put(one, 104, ff[:4]...),
		"LUKS1, key of 0":            put(one, 108, 0, 0, 0, 0),
		"LUKS1, key of 4 GiB":        put(one, 108, ff[:4]...),
		"LUKS1, digest too dear":     put(one, 164, ff[:4]...),
		"LUKS1, digest of no rounds": put(one, 164, 0, 0, 0, 0),
		"LUKS1, state of slot":       put(one, 208+48, 1, 2, 3, 4),
		"LUKS1, slot too dear":       put(one, 208+4, ff[:4]...),
		"LUKS1, slot of no rounds":   put(one, 208+4, 0, 0, 0, 0),
		"LUKS1, slot in the header":  put(one, 208+40, 0, 0, 0, 1),
		"LUKS1, slot far away":       put(one, 208+40, ff[:4]...),
		"LUKS1, stripes":             put(one, 208+44, ff[:4]...),
		"LUKS1, cipher":              put(one, 8, 'd', 'e', 's', 0),
		"LUKS1, mode":                put(one, 40, 'e', 'c', 'b', 0),
		"LUKS1, hash":                put(one, 72, 'm', 'd', '5', 0),
	} {
		start := time.Now()
		v, err := Open(dev, int64(len(dev)), []byte("p"))
		if v != nil || err == nil || errors.Is(err, ErrPassphrase) {
			t.Errorf("%s: %v", name, err)
		}
		if since := time.Since(start); since > 5*time.Second {
			t.Errorf("%s took %v", name, since)
		}
	}
	if _, err := Open(make(memory, len(two)), int64(len(two)), []byte("p")); !errors.Is(err, ErrNoVolume) {
		t.Errorf("nothing: %v", err)
	}
}

// TestTruncated: a device that ends early, or is said to be shorter than it is.
func TestTruncated(t *testing.T) {
	for version := 1; version <= 2; version++ {
		dev := sample(t, version)
		for _, n := range []int64{0, 1, 7, 8, 500, 592, 4095, 4096, 5000, 16 << 10, 20 << 10, 32 << 10, 100 << 10, 250 << 10} {
			for _, d := range []memory{dev, dev[:n]} {
				if v, err := Open(d, n, []byte("p")); v != nil || err == nil {
					t.Errorf("LUKS%d of %d bytes opened", version, n)
				}
			}
			if v, err := Open(dev[:n], int64(len(dev)), []byte("p")); v != nil || err == nil || n > 8 && errors.Is(err, io.EOF) {
				t.Errorf("LUKS%d with %d bytes there: %v", version, n, err)
			}
		}
	}
}

// TestRandomDamage: single bytes of the headers changed, with and without the
// checksum mended.
func TestRandomDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for version := 1; version <= 2; version++ {
		dev := sample(t, version)
		for range 150 {
			at := random.IntN(592)
			if version == 2 && random.IntN(4) > 0 {
				at = 4096 + random.IntN(800)
			}
			bad := memory(bytes.Clone(dev))
			bad[at] ^= byte(1 + random.IntN(255))
			if version == 2 {
				sign(bad, 0, 16<<10)
			}
			v, err := open(bad, int64(len(bad)), []byte("p"), tight())
			if (v == nil) == (err == nil) {
				t.Errorf("byte %d: %v", at, err)
			}
		}
	}
}

// TestRandomMetadata: leaves of the metadata replaced by values of all kinds.
func TestRandomMetadata(t *testing.T) {
	dev := sample(t, 2)[:512<<10]
	good := text(dev[4096 : 16<<10])
	random := rand.New(rand.NewPCG(2, 2))
	for range randomHeaders {
		values := []any{nil, true, "", "0", "-1", "1", "512", "4096", "16777216", "9223372036854775807", "18446744073709551615", "dynamic", "argon2id", "argon2i", "pbkdf2",
			"sha1", "sha512", 0, -1, 1, 3, 4, 32, 64, 100, 1000, 4096, 1 << 20, 1<<31 - 1, 1 << 31, 1 << 32, 1<<63 - 1, 1.5, 1e300, []any{}, json.RawMessage("{}"), []any{"0"}}
		var m map[string]any
		if err := json.Unmarshal([]byte(good), &m); err != nil {
			t.Fatal(err)
		}
		slot := m["keyslots"].(map[string]any)["0"].(map[string]any)
		if random.IntN(2) == 0 {
			slot["kdf"] = map[string]any{"type": "argon2id", "time": 4, "memory": 64, "cpus": 2, "salt": "AAAA"}
		}
		for range 1 + random.IntN(3) {
			replace(random, m, values)
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		judgeOpen(t, withJSON(dev, string(text)))
		if t.Failed() {
			t.Fatalf("with %s", text)
		}
	}
}

// randomHeaders was 30,000 once.
const randomHeaders = 300

// replace puts one of the values in the place of something in an object, or adds it.
func replace(random *rand.Rand, object map[string]any, values []any) {
	names := slices.Sorted(maps.Keys(object))
	if len(names) == 0 {
		object["0"] = values[random.IntN(len(values))]
		return
	}
	name := names[random.IntN(len(names))]
	if inner, ok := object[name].(map[string]any); ok && random.IntN(10) > 0 {
		replace(random, inner, values)
		return
	}
	if random.IntN(8) == 0 {
		object["integrity"] = object[name]
	}
	object[name] = values[random.IntN(len(values))]
}

// short is a device whose start is given and whose rest is zero.
type short struct {
	memory
	size int64
}

func (s short) ReadAt(b []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), s.size-off))
	clear(b[:n])
	if off < int64(len(s.memory)) {
		copy(b[:n], s.memory[off:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// judgeOpen: no panic, no endless work, and a volume that opened can be read.
func judgeOpen(t *testing.T, start memory) {
	dev := short{start, 17 << 20}
	began := time.Now()
	v, err := open(dev, dev.size, []byte("p"), tight())
	if (v == nil) == (err == nil) {
		t.Fatalf("%v, %v", v, err)
	}
	if since := time.Since(began); since > 10*time.Second {
		t.Fatalf("took %v", since)
	}
	if v == nil {
		return
	}
	for _, at := range []int64{0, v.Size() - 1} {
		if _, err := v.ReadAt(make([]byte, 1), at); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzHeader opens any start of a device, its first LUKS2 checksum mended.
func FuzzHeader(f *testing.F) {
	for version := 1; version <= 2; version++ {
		f.Add([]byte(sample(f, version)[:6<<10]))
	}
	f.Fuzz(func(t *testing.T, start []byte) {
		if len(start) > 64<<10 {
			return
		}
		raw := make(memory, 64<<10)
		copy(raw, start)
		judgeOpen(t, raw)
		sign(raw, 0, 16<<10)
		judgeOpen(t, raw)
	})
}

// FuzzMetadata opens volumes with any JSON.
func FuzzMetadata(f *testing.F) {
	dev := sample(f, 2)[:512<<10]
	good := text(dev[4096 : 16<<10])
	f.Add(good)
	var m metadata
	if err := json.Unmarshal([]byte(good), &m); err != nil {
		f.Fatal(err)
	}
	k := m.Keyslots["0"]
	k.KDF = kdf{Type: Argon2id, Time: 4, Memory: 64, CPUs: 2, Salt: k.KDF.Salt}
	m.Keyslots["1"] = k
	more, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(more))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 12<<10 {
			judgeOpen(t, withJSON(dev, text))
		}
	})
}

package luks

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const someUUID = "a1a2a3a4-0000-4000-8000-0123456789ab"

// emptied gives a key of k's kind with nothing in it, but for what is no secret.
func emptied(k xexKey) xexKey {
	e := reflect.New(reflect.TypeOf(k).Elem())
	if rounds := reflect.ValueOf(k).Elem().FieldByName("rounds"); rounds.IsValid() {
		return emptyFast(int(rounds.Int()))
	}
	return e.Interface().(xexKey)
}

// header formats a volume in memory and gives its header.
func header(t *testing.T, o Options, passphrases ...string) []byte {
	t.Helper()
	dev := make(memory, Overhead(o)+1<<20)
	o.Size, o.PBKDF = int64(len(dev)), quick
	v, err := Format(dev, o, bytesOf(passphrases))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestSeed(t *testing.T) {
	for _, version := range []int{1, 2} {
		o := Options{Version: version, UUID: someUUID, Seed: []byte("a seed of many bytes")}
		one := header(t, o, "a", "b")
		if !bytes.Equal(one, header(t, o, "a", "b")) {
			t.Errorf("LUKS%d: equal seeds give other bytes", version)
		}
		if version == 1 {
			continue // a seed is stretched, which takes time
		}
		for name, other := range map[string]Options{
			"another seed": {Version: version, UUID: someUUID, Seed: []byte("a seed of many Bytes")},
			"another UUID": {Version: version, UUID: strings.Replace(someUUID, "a1", "b1", 1), Seed: o.Seed},
			"no seed":      {Version: version, UUID: someUUID},
		} {
			differ(t, fmt.Sprintf("LUKS%d, %s", version, name), one, header(t, other, "a", "b"))
		}
		differ(t, "no seed twice", header(t, Options{Version: version, UUID: someUUID}, "a", "b"), header(t, Options{Version: version, UUID: someUUID}, "a", "b"))
	}
}

// differ checks that two volumes have nothing in common where keys, salts, noise
// and payload are: no 32 bytes are equal at the same place, but zeros and text. The
// headers themselves are left to their salts.
func differ(t *testing.T, what string, a, b []byte) {
	t.Helper()
	material := 0
	for at := 0; at < len(a); at += 32 {
		x, y := a[at:at+32], b[at:at+32]
		if bytes.Equal(x, make([]byte, 32)) || at < 4096 || a[7] == 2 && at >= 16<<10 && at < 20<<10 {
			continue
		}
		material++
		if bytes.Equal(x, y) && bytes.ContainsFunc(x, func(r rune) bool { return r > 0x7e }) {
			t.Fatalf("%s: equal from byte %d on: %x", what, at, x)
		}
	}
	if material < 2*256000/32+4096/32 {
		t.Errorf("%s: only %d pieces hold anything", what, material)
	}
	for _, salt := range saltsOf(t, a) {
		if bytes.Contains(b, salt) {
			t.Errorf("%s: salt %x in both", what, salt)
		}
	}
}

// saltsOf finds the salts in a header, as they are written in it.
func saltsOf(t *testing.T, dev []byte) [][]byte {
	t.Helper()
	if dev[7] == 1 {
		return [][]byte{dev[132:164], dev[208+8 : 208+40], dev[256+8 : 256+40]}
	}
	var m metadata
	if err := json.Unmarshal([]byte(text(dev[4096:])), &m); err != nil {
		t.Fatal(err)
	}
	return [][]byte{dev[104:168], dev[16<<10+104 : 16<<10+168], encoded(m.Digests["0"].Salt), encoded(m.Keyslots["0"].KDF.Salt), encoded(m.Keyslots["1"].KDF.Salt)}
}

func encoded(b []byte) []byte {
	text, _ := json.Marshal(b)
	return text
}

// TestSlotsApart: nothing is used twice within a volume either.
func TestSlotsApart(t *testing.T) {
	for _, seed := range [][]byte{nil, []byte("a seed")} {
		dev := header(t, Options{UUID: someUUID, Seed: seed}, "a", "a")
		if bytes.Equal(dev[32<<10:32<<10+1024], dev[32<<10+258048:32<<10+258048+1024]) {
			t.Error("two slots with equal passphrases have equal bytes")
		}
		p, err := read2(memory(dev), int64(len(dev)))
		if err != nil {
			t.Fatal(err)
		}
		var noise [2][]byte
		for i, s := range p.slots {
			noise[i] = bytes.Clone(dev[s.offset:][:64*stripes])
			key, err := s.key([]byte("a"), 64)
			if err != nil {
				t.Fatal(err)
			}
			newXTS(key, 512, 0).decrypt(noise[i], noise[i], 0)
		}
		for at := 0; at < len(noise[0]); at += 64 {
			if bytes.Equal(noise[0][at:at+64], noise[1][at:at+64]) || bytes.Count(noise[0][at:at+64], []byte{0}) > 16 {
				t.Fatalf("stripe %d has no noise of its own", at/64)
			}
		}
		salts := map[string]bool{}
		for _, s := range saltsOf(t, dev) {
			salts[string(s)] = true
		}
		if len(salts) != 5 {
			t.Errorf("%d different salts", len(salts))
		}
	}
}

// TestOldContentGone: what lay below the headers is not there any more.
func TestOldContentGone(t *testing.T) {
	for _, version := range []int{1, 2} {
		o := Options{Version: version, PBKDF: quick}
		o.Size = Overhead(o) + 1<<20
		dev := memory(bytes.Repeat([]byte("old content "), int(o.Size/12)+1)[:o.Size])
		v, err := Format(dev, o, bytesOf([]string{"p"}))
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
		if bytes.Contains(dev[:Overhead(o)], []byte("old content ")) {
			t.Errorf("LUKS%d: old content is left in the header", version)
		}
		if !bytes.Contains(dev[Overhead(o):], []byte("old content ")) {
			t.Errorf("LUKS%d: the payload was touched", version)
		}
	}
}

// TestNothingPrinted: no verb and no encoder shows a secret.
func TestNothingPrinted(t *testing.T) {
	const word = "Wachtelei"
	o := Options{Size: 17 << 20, PBKDF: quick, UUID: someUUID, Seed: []byte(word)}
	dev := make(memory, o.Size)
	v, err := Format(dev, o, bytesOf([]string{word}))
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	s := secret(word)
	for _, value := range []any{o, &o, v, *(&v), s, []secret{s}, map[string]any{"o": o, "v": v}, seeded{s}} {
		for _, verb := range "vsqxXdotcbUT" {
			for _, flag := range []string{"", "+", "#"} {
				fmt.Fprintf(&shown, "%"+flag+string(verb)+"\n", value)
			}
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		shown.Write(text)
	}
	_, wrong := Open(dev, o.Size, []byte("Wachtelei?"))
	_, long := Open(dev, o.Size, bytes.Repeat([]byte(word), 1<<20))
	_, many := Format(dev, o, [][]byte{[]byte(word), nil})
	o.UUID = ""
	_, bare := Format(dev, o, [][]byte{[]byte(word)})
	for _, err := range []error{wrong, long, many, bare} {
		if err == nil {
			t.Error("no error")
		}
		fmt.Fprintf(&shown, "%v %+v %#v\n", err, err, err)
	}
	digits := strings.Trim(fmt.Sprint([]byte(word)), "[]")
	for _, form := range []string{word, hex.EncodeToString([]byte(word)), strings.ToUpper(hex.EncodeToString([]byte(word))), digits, strings.ReplaceAll(digits, " ", ", "), string(encoded([]byte(word)))} {
		if strings.Contains(shown.String(), strings.Trim(form, `"`)) {
			t.Errorf("shown as %s", form)
		}
	}
	if bytes.Contains(dev, []byte(word)) {
		t.Error("on the device")
	}
}

func TestUserMistakes(t *testing.T) {
	const size = 20 << 20
	for _, test := range []struct {
		options Options
		says    string
	}{
		{Options{}, "volume on 0 bytes: it needs 16781312 at least"},
		{Options{Size: 16 << 20}, "needs"},
		{Options{Version: 1, Size: 2 << 20}, "it needs 2097664 at least"},
		{Options{Size: size + 1}, "no multiple of its encryption sectors of 512"},
		{Options{Size: size + 512, SectorSize: 4096}, "no multiple of its encryption sectors of 4096"},
		{Options{Size: size, Version: 3}, "LUKS version 3: allowed are 1 and 2"},
		{Options{Size: size, SectorSize: 1024}, "allowed are 512 and 4096"},
		{Options{Size: size, Version: 1, SectorSize: 4096}, "LUKS1 has 512 only"},
		{Options{Size: size, Version: 1, Label: "x"}, "LUKS1 has neither"},
		{Options{Size: size, Version: 1, PBKDF: PBKDF{Kind: Argon2id}}, "LUKS1 has pbkdf2 only"},
		{Options{Size: size, Label: strings.Repeat("x", 48)}, "at most 47 bytes"},
		{Options{Size: size, Subsystem: "a\x00b"}, "none of them NUL"},
		{Options{Size: size, Cipher: "serpent-xts-plain64"}, `only "aes-xts-plain64" is written`},
		{Options{Size: size, KeySize: 384}, "allowed are 256 and 512"},
		{Options{Size: size, Hash: "md5"}, "allowed are sha1, sha224, sha256, sha384, sha512"},
		{Options{Size: size, UUID: "A"}, `UUID "A"`},
		{Options{Size: size, UUID: strings.ReplaceAll(someUUID, "-", "0")}, "8-4-4-4-12"},
		{Options{Size: size, Seed: []byte{}, UUID: someUUID}, "seed of a LUKS volume is empty"},
		{Options{Size: size, Seed: []byte("x")}, "needs a UUID"},
		{Options{Size: size, PBKDF: PBKDF{Kind: "argon2d"}}, "allowed are argon2id, argon2i and pbkdf2"},
		{Options{Size: size, PBKDF: PBKDF{Iterations: 3}}, "allowed are 4 to"},
		{Options{Size: size, PBKDF: PBKDF{Memory: 31}}, "allowed are 32 to 1048576"},
		{Options{Size: size, PBKDF: PBKDF{Threads: 5}}, "allowed are 1 to 4"},
		{Options{Size: size, PBKDF: PBKDF{Kind: PBKDF2, Memory: 32}}, "iterations only"},
		{Options{Size: size, PBKDF: PBKDF{Kind: PBKDF2, Iterations: 999}}, "allowed are 1000 to"},
	} {
		dev := make(memory, size)
		v, err := Format(dev, test.options, bytesOf([]string{"p"}))
		if v != nil || err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v", test.options, err)
		}
		if !bytes.Equal(dev, make([]byte, size)) {
			t.Errorf("%+v: something was written", test.options)
		}
	}
	for _, passphrases := range [][][]byte{nil, {nil}, {[]byte("p"), {}}, {make([]byte, MaxKeyFile+1)}} {
		if _, err := Format(make(memory, size), Options{Size: size, PBKDF: quick}, passphrases); err == nil {
			t.Errorf("%d passphrases", len(passphrases))
		}
	}
	if _, err := Open(make(memory, size), size, nil); err == nil || errors.Is(err, ErrNoVolume) {
		t.Errorf("an empty passphrase: %v", err)
	}
}

// TestDefaults: zero fields mean what their comments say.
func TestDefaults(t *testing.T) {
	for _, test := range []struct{ given, want Options }{
		{Options{Size: 20 << 20}, Options{Version: 2, SectorSize: 4096, PBKDF: PBKDF{Argon2id, 8, 64 << 10, 4}}},
		{Options{Size: 20<<20 + 512}, Options{Version: 2, SectorSize: 512, PBKDF: PBKDF{Argon2id, 8, 64 << 10, 4}}},
		{Options{Size: 20 << 20, Version: 1}, Options{Version: 1, SectorSize: 512, PBKDF: PBKDF{PBKDF2, 600_000, 0, 0}}},
		{Options{Size: 20 << 20, Hash: "sha512", PBKDF: PBKDF{Kind: PBKDF2}}, Options{Version: 2, SectorSize: 4096, Hash: "sha512", PBKDF: PBKDF{PBKDF2, 210_000, 0, 0}}},
	} {
		test.given.UUID = someUUID
		got, err := test.given.complete()
		want := test.want
		want.Size, want.UUID, want.Cipher, want.KeySize, want.Hash = test.given.Size, someUUID, "aes-xts-plain64", 512, or(want.Hash, "sha256")
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, %v instead of %v", got, err, want)
		}
	}
}

package luks

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	stock "golang.org/x/crypto/xts"
)

// variants are the ways to do AES here, each with its own keys.
var variants = map[string]func(key []byte) xexKey{
	"chosen": newKey,
	"plain":  func(key []byte) xexKey { return newPlainKey(key) },
}

func variantXTS(make func([]byte) xexKey, key []byte, sector int, offset uint64) *xts {
	return &xts{data: make(key[:len(key)/2]), tweak: make(key[len(key)/2:]), sector: sector, offset: offset}
}

func TestIEEE1619(t *testing.T) {
	text, err := os.ReadFile("testdata/ieee1619")
	if err != nil {
		t.Fatal(err)
	}
	vectors := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		vectors++
		var key, plain, coded []byte
		var unit uint64
		if _, err := fmt.Sscanf(line, "%x %d %x %x", &key, &unit, &plain, &coded); err != nil {
			t.Fatal(err)
		}
		for name, make := range variants {
			x := variantXTS(make, key, len(plain), unit)
			got := bytes.Clone(plain)
			x.encrypt(got, got, 0)
			if !bytes.Equal(got, coded) {
				t.Errorf("%s: unit %d encrypts to %s", name, unit, hex.EncodeToString(got))
			}
			x.decrypt(got, got, 0)
			if !bytes.Equal(got, plain) {
				t.Errorf("%s: unit %d decrypts to %s", name, unit, hex.EncodeToString(got))
			}
		}
	}
	if vectors != 6 {
		t.Errorf("%d vectors", vectors)
	}
}

func TestXTSAsOther(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{32, 64} {
		for _, sector := range []int{512, 1024, 2048, 4096} {
			key, plain := make([]byte, size), make([]byte, 70*sector)
			random.Read(key)
			random.Read(plain)
			peer, err := stock.NewCipher(aes.NewCipher, key)
			if err != nil {
				t.Fatal(err)
			}
			const first, offset = 1<<34 - 3, 77
			want := make([]byte, len(plain))
			for i := range 70 {
				peer.Encrypt(want[i*sector:], plain[i*sector:(i+1)*sector], offset+(first+uint64(i))*uint64(sector/512))
			}
			for name, make_ := range variants {
				x := variantXTS(make_, key, sector, offset)
				got, back := make([]byte, len(plain)), make([]byte, len(plain))
				x.encrypt(got, plain, first)
				x.decrypt(back, got, first)
				if !bytes.Equal(got, want) || !bytes.Equal(back, plain) {
					t.Errorf("%s: keys of %d, sectors of %d differ from golang.org/x/crypto/xts", name, size, sector)
				}
			}
		}
	}
}

func BenchmarkXTS(b *testing.B) {
	key := make([]byte, 64)
	for i := range key {
		key[i] = byte(i)
	}
	for _, sector := range []int{512, 4096} {
		buf := make([]byte, 1<<18)
		for name, make := range variants {
			x := variantXTS(make, key, sector, 0)
			b.Run(fmt.Sprint(name, sector), func(b *testing.B) {
				b.SetBytes(int64(len(buf)))
				for range b.N {
					x.encrypt(buf, buf, 0)
				}
			})
			b.Run(fmt.Sprint(name, "Decrypt", sector), func(b *testing.B) {
				b.SetBytes(int64(len(buf)))
				for range b.N {
					x.decrypt(buf, buf, 0)
				}
			})
		}
		b.Run(fmt.Sprint("xcrypto", sector), func(b *testing.B) {
			peer, _ := stock.NewCipher(aes.NewCipher, key)
			b.SetBytes(int64(len(buf)))
			for range b.N {
				for at := 0; at < len(buf); at += sector {
					peer.Encrypt(buf[at:], buf[at:at+sector], uint64(at))
				}
			}
		})
	}
}

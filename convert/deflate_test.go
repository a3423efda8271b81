package convert

import (
	"bytes"
	"compress/flate"
	"io"
	"testing"
)

// FuzzDeflate reads back what was written with another implementation.
func FuzzDeflate(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(mixed(seed, 512<<(seed%13)), uint8(seed))
	}
	d := new(deflater)
	f.Fuzz(func(t *testing.T, data []byte, repeat uint8) {
		p := bytes.Repeat(data, int(repeat)/32+1)
		p = append(p, make([]byte, max(0, 512-len(p)))...)
		p = p[:min(len(p), maxCluster)]
		out, err := d.compress(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(flate.NewReader(bytes.NewReader(out)))
		if err != nil || !bytes.Equal(back, p) {
			t.Fatalf("%d bytes come back as %d: %v", len(p), len(back), err)
		}
	})
}

// TestDeflateWindow looks at how far back matches lie: random bytes repeated
// at a distance within and beyond the window.
func TestDeflateWindow(t *testing.T) {
	for distance, small := range map[int]bool{zlibWindow: true, zlibWindow + 1: false} {
		p := mixed(0, 0)
		for len(p) < 64<<10 {
			p = append(p, randomBytes(uint64(distance), distance)...)
		}
		out, err := new(deflater).compress(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(out) < len(p)/2; got != small {
			t.Errorf("repeated after %d bytes: %d bytes become %d", distance, len(p), len(out))
		}
	}
}

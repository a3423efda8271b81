package convert

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzZstd reads back what was written with another implementation.
func FuzzZstd(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(mixed(seed, 512<<(seed%13)), uint8(seed))
	}
	f.Add([]byte{}, uint8(0))
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	encoders := map[int]*zstdFrames{}
	for _, c := range []int{1 << 16, maxCluster} {
		encoders[c] = newZstdFrames(c)
	}
	f.Fuzz(func(t *testing.T, data []byte, repeat uint8) {
		// The same encoder again and again, as a worker uses it.
		p := bytes.Repeat(data, int(repeat)/32+1)
		p = append(p, make([]byte, max(0, 512-len(p)))...)
		for most, z := range encoders {
			p := p[:min(len(p), most)]
			out, err := z.compress(nil, p)
			if err != nil {
				t.Fatal(err)
			}
			back, err := d.DecodeAll(out, nil)
			if err != nil || !bytes.Equal(back, p) {
				t.Fatalf("%d bytes come back as %d: %v", len(p), len(back), err)
			}
		}
	})
}

// mixed gives n bytes of changing character: random, few symbols, copies of
// earlier parts, one byte repeated.
func mixed(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	var p []byte
	for len(p) < n {
		length := 1 + r.IntN(1<<(1+r.IntN(14)))
		switch kind := r.IntN(5); {
		case kind == 0:
			for range length {
				p = append(p, byte(r.Uint32()))
			}
		case kind == 1:
			p = append(p, bytes.Repeat([]byte{byte(r.Uint32())}, length)...)
		case kind == 2:
			for range length {
				p = append(p, "abcdefgh"[r.IntN(8)&r.IntN(8)])
			}
		case len(p) > 0:
			from := r.IntN(len(p))
			p = append(p, p[from:min(len(p), from+1+length/8)]...)
		}
	}
	return p[:n]
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

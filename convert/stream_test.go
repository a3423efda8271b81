package convert

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// TestCompress lets the foreign tools read what Compress writes, of nothing, a
// little, and more than a block of every kind; the bits do not depend on the number
// of processors.
func TestCompress(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	long := make([]byte, xzBlockSize+xzBlockSize/3+5)
	for i := range long { // letters, with stretches that occur again
		long[i] = 'a' + byte(r.IntN(4))
		if i > 1000 && i%64 > 20 {
			long[i] = long[i-997]
		}
	}
	for kind, tool := range map[string][]string{"gzip": {"gzip", "-dc"}, "zstd": {"zstd", "-dc"}, "xz": {"xz", "-dc"}, "none": {"cat"}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			blockdevtest.Need(t, tool[0])
			for _, text := range [][]byte{nil, []byte("one"), long} {
				packed := compressed(t, kind, text)
				cmd := exec.Command(tool[0], tool[1:]...)
				cmd.Stdin = bytes.NewReader(packed)
				var out, said bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &said
				if err := cmd.Run(); err != nil {
					t.Fatalf("%d bytes: %v: %v\n%s", len(text), tool, err, &said)
				}
				if !bytes.Equal(out.Bytes(), text) {
					t.Errorf("%d bytes came back otherwise", len(text))
				}
				if kind != "none" && len(text) > 1000 && len(packed) > len(text)/2 {
					t.Errorf("%d bytes became %d", len(text), len(packed))
				}
			}
		})
	}
	if _, err := Compress("lz4", io.Discard); err == nil {
		t.Error("a kind that is not there was taken")
	}
}

func compressed(t *testing.T, kind string, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := Compress(kind, &out)
	if err == nil {
		_, err = io.Copy(w, iotest.HalfReader(bytes.NewReader(text)))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestCompressRepeats: equal bits by one processor and by several.
func TestCompressRepeats(t *testing.T) {
	text := bytes.Repeat([]byte("how vexingly quick daft zebras jump "), 100_000)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, kind := range StreamKinds() {
		runtime.GOMAXPROCS(1)
		one := compressed(t, kind, text)
		runtime.GOMAXPROCS(5)
		if !bytes.Equal(one, compressed(t, kind, text)) {
			t.Errorf("%s: the bits depend on the number of processors", kind)
		}
	}
}

// TestCompressFullDisk: an error of writing comes out, and nothing hangs.
func TestCompressFullDisk(t *testing.T) {
	full := errors.New("no space left")
	for _, kind := range StreamKinds() {
		w, err := Compress(kind, failingWriter{full})
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 1<<20)
		rng := rand.NewChaCha8([32]byte{})
		_, _ = rng.Read(noise)
		for range 12 {
			if _, err = w.Write(noise); err != nil {
				break
			}
		}
		if e := w.Close(); err == nil {
			err = e
		} else if e != nil {
			err = e
		}
		if !errors.Is(err, full) {
			t.Errorf("%s: %v, want %v", kind, err, full)
		}
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

package convert

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

var checksums = map[string]func() hash.Hash{"md5": md5.New, "sha256": sha256.New}

// ChecksumKinds are the kinds that Checksums knows.
func ChecksumKinds() []string { return []string{"md5", "sha256"} }

// Checksums reads a file once and gives its checksum of each kind, in
// hexadecimal, by kind. The kinds are worked out in parallel.
func Checksums(ctx context.Context, path string, kinds []string) (map[string]string, error) {
	var sums []hash.Hash
	for _, k := range kinds {
		make, ok := checksums[k]
		if !ok {
			return nil, fmt.Errorf("unknown checksum %q%s; allowed: %s", k, didYouMean(k, ChecksumKinds()), strings.Join(ChecksumKinds(), ", "))
		}
		sums = append(sums, make())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading for checksums: %w", err)
	}
	defer f.Close() // it was only read
	if err := hashAll(ctx, f, sums); err != nil {
		return nil, fmt.Errorf("reading %q for checksums: %w", path, err)
	}
	out := map[string]string{}
	for i, k := range kinds {
		out[k] = hex.EncodeToString(sums[i].Sum(nil))
	}
	return out, nil
}

// hashAll gives each hash its own goroutine. While they are at work on one
// buffer the next is read.
func hashAll(ctx context.Context, r io.Reader, sums []hash.Hash) error {
	buffers := [2][]byte{make([]byte, 1<<20), make([]byte, 1<<20)}
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := 0; ; i ^= 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buffers[i])
		wg.Wait()
		p := buffers[i][:n]
		for _, s := range slices.All(sums) {
			wg.Go(func() { s.Write(p) })
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

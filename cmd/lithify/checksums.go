package main

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
)

// checksumKinds are all kinds that an output may have beside it.
var checksumKinds = []string{"md5", "sha256"}

// digestFile reads the whole of f once and returns the hexadecimal digests of
// the kinds wanted.
func digestFile(ctx context.Context, f *os.File, kinds []string) (map[string]string, error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	hashes := map[string]hash.Hash{}
	var writers []io.Writer
	for _, kind := range kinds {
		switch kind {
		case "md5":
			hashes[kind] = md5.New()
		case "sha256":
			hashes[kind] = sha256.New()
		default:
			return nil, fmt.Errorf("unknown kind of checksum %q", kind)
		}
		writers = append(writers, hashes[kind])
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	content := io.NewSectionReader(f, 0, info.Size())
	if _, err := io.CopyBuffer(io.MultiWriter(writers...), ctxReader{ctx, content}, make([]byte, 1<<20)); err != nil {
		return nil, fmt.Errorf("summing up: %w", err)
	}
	sums := map[string]string{}
	for kind, h := range hashes {
		sums[kind] = hex.EncodeToString(h.Sum(nil))
	}
	return sums, nil
}

// ctxReader stops reading when its context ends. It lives for one call.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// checksumLine is a line as md5sum and sha256sum write and check them: names
// with a backslash or an end of line are marked and escaped.
func checksumLine(sum, name string) string {
	if strings.ContainsAny(name, "\\\n\r") {
		sum = `\` + sum
		name = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	}
	return sum + "  " + name + "\n"
}

// ensureChecksums writes the checksums of an output that is kept, where they
// are missing. Those that are there are of this output: publishing takes old
// ones away.
func ensureChecksums(ctx context.Context, path string, kinds []string) error {
	missing := slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
		_, err := os.Stat(path + "." + kind)
		return err == nil
	})
	if len(missing) == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sums, err := digestFile(ctx, f, missing)
	for kind, sum := range sums {
		err = errors.Join(err, writeRenamed(path+"."+kind, checksumLine(sum, path)))
	}
	return err
}

// writeRenamed writes a small file so that its name never holds half of it.
func writeRenamed(path, text string) error {
	temp := fmt.Sprintf("%s.%d.new", path, os.Getpid())
	os.Remove(temp) // of a dead process that had our number
	err := writeSynced(temp, text)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

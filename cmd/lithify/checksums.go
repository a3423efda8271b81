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
	"sync"
)

// checksumKinds are all kinds that an output may have beside it.
var checksumKinds = []string{"md5", "sha256"}

// newHash returns the hash of a kind of checksum.
func newHash(kind string) (hash.Hash, error) {
	switch kind {
	case "md5":
		return md5.New(), nil
	case "sha256":
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("unknown kind of checksum %q", kind)
}

// digestFile returns the hexadecimal digests of f of the kinds wanted. Each is
// made by itself at the same time: md5 takes longer than reading twice.
func digestFile(ctx context.Context, f *os.File, kinds []string) (map[string]string, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	sums, errs := make([]string, len(kinds)), make([]error, len(kinds))
	var group sync.WaitGroup
	for i, kind := range kinds {
		group.Go(func() { sums[i], errs[i] = digest(ctx, io.NewSectionReader(f, 0, info.Size()), kind) })
	}
	group.Wait()
	byKind := map[string]string{}
	for i, kind := range kinds {
		byKind[kind] = sums[i]
	}
	return byKind, errors.Join(errs...)
}

func digest(ctx context.Context, r io.Reader, kind string) (string, error) {
	h, err := newHash(kind)
	if err != nil {
		return "", err
	}
	if _, err := io.CopyBuffer(h, ctxReader{ctx, r}, make([]byte, 256<<10)); err != nil {
		return "", fmt.Errorf("summing up %s: %w", kind, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
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
	if err != nil {
		return err
	}
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

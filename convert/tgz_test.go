package convert_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/lithify/lithify/convert"
	"golang.org/x/sys/unix"
)

// archive writes a tree as a format.
func archive(t testing.TB, name, root string, o convert.TreeOptions) string {
	t.Helper()
	dst := create(t)
	if err := convert.Tree(context.Background(), format(t, name), dst, root, o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return dst.Name()
}

// TestTgz has gzip check the stream and compares it with the plain archive.
func TestTgz(t *testing.T) {
	need(t, "gzip", "tar", "cmp")
	big := t.TempDir()
	run(t, "sh", "-c", "head -c 5000001 /dev/urandom >"+big+"/random; head -c 9000000 /dev/zero >"+big+"/zero; cp /usr/bin/tar "+big)
	small := t.TempDir()
	for _, root := range []string{small, big} {
		plain, packed := archive(t, "tar", root, convert.TreeOptions{}), archive(t, "tgz", root, convert.TreeOptions{})
		run(t, "sh", "-c", "gzip -t <"+packed)
		run(t, "sh", "-c", "gzip -dc <"+packed+" | cmp - "+plain)
		back := t.TempDir()
		run(t, "tar", "-xzf", packed, "-C", back)
		run(t, "diff", "-r", root, back)
		run(t, "cmp", packed, archive(t, "tgz", root, convert.TreeOptions{Workers: 1}))
		f, err := os.Open(packed)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		if z.Name != "" || !z.ModTime.IsZero() {
			t.Errorf("the header holds %+v", z.Header)
		}
		z.Multistream(false)
		n, err := io.Copy(io.Discard, z)
		if st, _ := os.Stat(plain); err != nil || n != st.Size() {
			t.Errorf("the first member holds %d bytes, %v", n, err)
		}
	}
}

// TestTgzErrors: no goroutine is left, and the cause is told.
func TestTgzErrors(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "zeros"), bytes.Repeat([]byte("0123"), 20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	if err := convert.Tree(context.Background(), format(t, "tgz"), full, root, convert.TreeOptions{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := convert.TreeOptions{Progress: func(done, _ int64) {
		if done > 5<<20 {
			cancel()
		}
	}}
	if err := convert.Tree(ctx, format(t, "tgz"), create(t), root, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	cancel()
	noneLeft(t, before)
}

// noneLeft fails when more goroutines run than before. One that has said that it
// is done may be there for a moment.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
	}
}
